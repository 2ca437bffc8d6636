"""What all tests share: the compilation cache, the seeds, and where the shared files are."""

import gc
import importlib
import importlib.util
import math
import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# Set before any backend is imported. JAX compiles every function of a new shape, which is most of
# the time its tests take; kept between runs, a second run does not compile at all.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(REPOSITORY / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Or runtimes, which tests import by themselves, would tell their makers; see import_runtime.
sys.modules.setdefault("openvino_telemetry", None)
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


_BACKENDS = set()
_resident_limit = [4 * 2**30]


@pytest.hookimpl(tryfirst=True)  # Before `-m` is applied.
def pytest_collection_modifyitems(items):
    """What compiles for minutes on one backend is marked slow there, and runs on the others."""
    backend = os.environ.get("KERAS_BACKEND")
    for item in items:
        for mark in item.iter_markers("slow_on"):
            if backend in mark.args:
                item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Leave out of garbage collection what imports and collecting make, some 800,000 objects.

    They live until the end, and each full collection would go through them.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_sessionfinish(session):
    if "keras" in sys.modules:
        keras = importlib.import_module("keras")
        _BACKENDS.add(f"backend: {keras.config.backend()}, keras {keras.__version__}")
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["backends"] = list(_BACKENDS)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """With `-n`, only the workers have imported Keras; a crashed one says nothing."""
    _BACKENDS.update(getattr(node, "workeroutput", {}).get("backends", []))


def pytest_terminal_summary(terminalreporter):
    # At the end, because `pytest -q` does not print a header.
    for line in sorted(_BACKENDS):
        terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def _seeds():
    """Start every test from the same random state, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    # Modules that work without Keras are tested without waiting for its import.
    if "keras" in sys.modules:
        importlib.import_module("keras").utils.set_random_seed(0)


@pytest.fixture
def input_gradient():
    """`input_gradient(function, x)`: the gradient of a scalar of tensors by its input array."""
    programs = {}

    def gradient(function, x):
        keras = importlib.import_module("keras")
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            x = tf.convert_to_tensor(x)
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = function(x)
            # Zeros, not None, where nothing depends on the input, as JAX gives.
            result = tape.gradient(value, x, unconnected_gradients="zero")
        elif keras.backend.backend() == "torch":
            import torch

            x = torch.tensor(x, requires_grad=True)
            (result,) = torch.autograd.grad(
                function(x), x, allow_unused=True, materialize_grads=True
            )
            result = result.detach()
        else:
            import jax

            if function not in programs:
                programs[function] = jax.jit(jax.grad(function))
            result = programs[function](x)
        return keras.ops.convert_to_numpy(result)

    return gradient


@pytest.fixture(scope="session")
def unbuilt_parts():
    """`unbuilt_parts(layer)`: the layers in a layer or model, at any depth, that are not built.

    With one of them, Keras on JAX runs a whole model first operation by operation, each compiled
    by itself: half a minute for a model that compiles in seconds.
    """

    layer_class = importlib.import_module("keras").layers.Layer

    def search(value, seen):
        if isinstance(value, layer_class) and id(value) not in seen:
            seen.add(id(value))
            yield value
            value = vars(value)
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list | tuple):
            for part in value:
                yield from search(part, seen)

    return lambda layer: [part.name for part in search(layer, set()) if not part.built]


@pytest.fixture(scope="module")
def untraced_tensorflow():
    """Let TensorFlow run without tracing, which takes most of a minute and proves no more."""
    if importlib.import_module("keras").backend.backend() != "tensorflow":
        yield
        return
    functions = importlib.import_module("tensorflow").config
    functions.run_functions_eagerly(True)
    yield
    functions.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def save_small_preset():
    """`save_small_preset(folder, modalities)`: one convolution as encoder, which compiles fast."""

    def save(folder, modalities):
        keras = importlib.import_module("keras")
        models = importlib.import_module("keras_espmedsam").models
        image = keras.Input((32, 32, 3))
        encoder = keras.Model(image, keras.layers.Conv2D(16, 16, strides=16)(image))
        backbone = models.ESPMedSAMBackbone(
            encoder,
            modalities=modalities,
            transformer_depth=1,
            transformer_num_heads=2,
            transformer_mlp_dim=16,
        )
        preprocessor = models.ESPMedSAMImageSegmenterPreprocessor(
            models.ESPMedSAMImageConverter(image_size=(32, 32))
        )
        models.ESPMedSAMImageSegmenter(backbone, preprocessor).save_to_preset(folder)

    return save


@pytest.fixture(autouse=True)
def _quick_compilation(request):
    """Let JAX compile without optimising: tests run a program a few times and compile many.

    Not where 1024 x 1024 pixels are computed, which optimised code does several times faster.
    """
    if "keras" in sys.modules and importlib.import_module("keras").backend.backend() == "jax":
        config = importlib.import_module("jax").config
        config.update("jax_disable_most_optimizations", request.path.name != "test_parity.py")


@pytest.fixture(autouse=True, scope="session")
def _few_sizes_of_random_arrays():
    """Let JAX draw initial values in sizes that are powers of two, and take the first of them.

    It compiles each shape in a third of a second, and models have many. The values are the same:
    each number is made of the key and of its place alone.
    """
    if "keras" not in sys.modules or importlib.import_module("keras").backend.backend() != "jax":
        yield
        return
    jax = importlib.import_module("jax")

    def in_few_sizes(draw):
        def drawn(key, *, shape, **options):
            count = math.prod(shape)
            values = draw(key, shape=(1 << (count - 1).bit_length(),), **options)
            if isinstance(values, jax.core.Tracer):  # Part of a program that is compiled anyway.
                return draw(key, shape=shape, **options)
            return jax.numpy.asarray(np.asarray(values)[:count].reshape(shape))

        return drawn

    with pytest.MonkeyPatch.context() as patch:
        for name in ("uniform", "normal", "truncated_normal"):
            patch.setattr(jax.random, name, in_few_sizes(getattr(jax.random, name)))
        yield


@pytest.fixture(autouse=True, scope="module")
def _bounded_memory():
    """Let JAX forget what it compiled once a process holds much: two of them ran up to 6 GiB each.

    And again after half a GiB more, since a process seldom gives back what it was given. Where the
    memory is not told (outside of Linux), nothing is forgotten.
    """
    yield
    if "jax" in sys.modules and _resident() > _resident_limit[0]:
        importlib.import_module("jax").clear_caches()
        gc.collect()
        _resident_limit[0] = max(_resident_limit[0], _resident() + 2**29)


def _resident():
    """The bytes of memory of this process, or 0 where they are not told."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return 0
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="session")
def transfers():
    """`transfers(step)`: where our code goes between host and device, dict of place to number.

    Keras' own trips are left out: the means of its losses, its optimisers' counts, its seeds.
    """
    if importlib.import_module("keras").backend.backend() != "torch":
        pytest.skip("JAX and TensorFlow run a compiled program, of which constants are a part")
    path = REPOSITORY / "benchmarks" / "device_transfers.py"
    spec = importlib.util.spec_from_file_location("device_transfers", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def ours(step, **options):
        found = module.counted(step, **options)
        places = {**found.uploads, **found.reads}
        return {place: n for place, n in places.items() if not place.startswith("Keras:")}

    return ours


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with reference outputs and data: ESPMEDSAM_SHARED, or beside the repository."""
    return _existing_folder("ESPMEDSAM_SHARED", REPOSITORY.parent / "shared")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the labelled images: ESPMEDSAM_DATA, or `data` in the shared folder."""
    shared = Path(os.environ.get("ESPMEDSAM_SHARED") or REPOSITORY.parent / "shared")
    return _existing_folder("ESPMEDSAM_DATA", shared / "data")


def _existing_folder(variable: str, default: Path) -> Path:
    folder = Path(os.environ.get(variable) or default)
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist; set {variable} to the folder")
    return folder
