"""The examples in the docstrings run as printed, whatever the backend."""

import copy
import doctest
import importlib
import inspect
import pkgutil

import keras
import numpy as np
import pytest

import keras_espmedsam as kem

_NANO = "espmedsam_nano_256"
# Examples that build and run whole models.
_LARGE = tuple(
    f"keras_espmedsam.{part}." for part in ("distillation", "inference", "models", "training")
)
# Elsewhere than on TensorFlow each starts a TensorFlow process that writes the nano preset, half
# a minute long; tests/export does so with a small model.
_EXPORTING = {
    "keras_espmedsam.export._export_model.export_model": ("tensorflow",),
    "keras_espmedsam.export.exported_segmenter.ExportedSegmenter": ("tensorflow",),
}
# Public, and without an example that runs.
_WITHOUT_EXAMPLE = {
    **dict.fromkeys(
        [f"keras_espmedsam.converters.{name}.convert_{name}" for name in ("mobilesam", "sam")]
        + [
            "keras_espmedsam.converters.espmedsam.convert_espmedsam",
            "keras_espmedsam.converters.keras_hub_sam.convert_keras_hub_sam",
            "keras_espmedsam.converters.efficientnet_lite.convert_efficientnet_lite",
        ],
        "it needs a published checkpoint; tests/converters makes small ones",
    ),
    **dict.fromkeys(
        [
            "keras_espmedsam.distillation.distillation_run.distill",
            "keras_espmedsam.training.training_run.train",
        ],
        "a run is of files; docs/how-to and tests run them",
    ),
    **dict.fromkeys(
        [
            *(
                f"keras_espmedsam.archive.{name}"
                for name in (
                    "dicomweb.DicomWebArchive",
                    "segment_archive.Outcome",
                    "segment_archive.segment_archive",
                    "segment_file.FileSegmenter",
                    "watch_folder.watch_folder",
                )
            ),
            *(
                f"keras_espmedsam.dicom.{name}"
                for name in (
                    "report.dicom_report",
                    "report.report_uid",
                    "segmentation.dicom_segmentation",
                    "segmentation.segmentation_uid",
                    "source_image.read_source",
                    "write_object.write_dicom_object",
                )
            ),
        ],
        "it needs DICOM images, or an archive of them; docs/how-to/dicom.md and tests have some",
    ),
    "keras_espmedsam.evaluation.fit_scope_threshold.fit_scope_threshold": (
        "docs/how-to/trust.md runs it on a preset"
    ),
    "keras_espmedsam.evaluation.fit_quality.fit_quality": "a segmenter's method shows it",
    "keras_espmedsam.evaluation.fit_scope.fit_scope": "docs/how-to/trust.md runs it on a preset",
    "keras_espmedsam.export._export_like_keras.export_like_keras": "models call it, in `export`",
    **dict.fromkeys(
        [
            "keras_espmedsam.export.bioimageio.export_bioimageio",
            "keras_espmedsam.export.triton.export_triton",
        ],
        "it writes a preset as export_model does; tests/export write small ones",
    ),
    "keras_espmedsam.serve.server.run_server": "it runs until it is stopped; tests/serve do so",
}


def _examples():
    names = [kem.__name__]
    names += [one.name for one in pkgutil.walk_packages(kem.__path__, kem.__name__ + ".")]
    # What a reader has after the imports of the README, and the classes by their bare names.
    shared = {**vars(kem.layers), **vars(kem.models), "keras": keras, "kem": kem, "np": np}
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in names:
        module = importlib.import_module(name)
        # What an example defines is the reader's, not the package's.
        yield from finder.find(module, globs={**shared, **vars(module), "__name__": "__main__"})


_CASES = {case.name: case for case in _examples() if case.examples}


def test_examples_are_found():
    assert len(_CASES) > 50
    assert set(_EXPORTING) < set(_CASES)


def _public():
    """Names of the classes and functions that the public modules list in `__all__`."""
    for one in [kem, *pkgutil.walk_packages(kem.__path__, kem.__name__ + ".")]:
        name = kem.__name__ if one is kem else one.name
        if "._" not in name:
            module = importlib.import_module(name)
            for public in (getattr(module, name) for name in getattr(module, "__all__", ())):
                if inspect.isclass(public) or inspect.isfunction(public):
                    yield f"{public.__module__}.{public.__qualname__}"


def test_everything_public_has_an_example():
    public = set(_public())
    assert len(public) > 130
    assert public - set(_CASES) == set(_WITHOUT_EXAMPLE)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Run the examples in the way that is quick on each backend, and proves no less.

    TensorFlow without tracing, which takes `fit` most of a minute; JAX with each call of a layer
    as one program, where it would else compile every operation in it.
    """
    if keras.backend.backend() == "jax":
        monkeypatch.setattr(keras.layers.Layer, "__call__", _as_one_program)
    if keras.backend.backend() != "tensorflow":
        yield
        return
    functions = importlib.import_module("tensorflow").config
    functions.run_functions_eagerly(True)
    yield
    functions.run_functions_eagerly(False)


_call = keras.layers.Layer.__call__


def _as_one_program(layer, *args, **kwargs):
    """`layer(*args, **kwargs)` jitted by JAX; as it is without tensors, or traced already."""
    jax = importlib.import_module("jax")
    leaves, structure = jax.tree.flatten((args, kwargs))
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, np.ndarray | jax.Array)]
    given = [leaves[i] for i in places]
    if not given or any(isinstance(x, jax.core.Tracer) for x in given):
        return _call(layer, *args, **kwargs)

    def called(tensors):
        filled = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        args, kwargs = jax.tree.unflatten(structure, filled)
        return _call(layer, *args, **kwargs)

    def program(values, tensors):
        state = list(zip(layer.variables, values, strict=True))
        with keras.StatelessScope(state_mapping=state) as scope:
            outputs = called(tensors)
        return outputs, [scope.get_current_value(v) for v in layer.variables]

    if not layer.built:
        called([keras.KerasTensor(x.shape, x.dtype) for x in given])
    outputs, values = jax.jit(program)([v.value for v in layer.variables], given)
    for variable, value in zip(layer.variables, values, strict=True):
        variable.assign(value)
    return outputs


def _marks(name):
    """Whole models take long to build, and exports to write; PyTorch and tests/export show both."""
    is_slow = name.startswith(_LARGE) or name.endswith(".ExportedSegmenter")
    return [pytest.mark.slow_on("tensorflow")] * is_slow


@pytest.mark.parametrize("name", [pytest.param(name, marks=_marks(name)) for name in _CASES])
def test_example(name):
    if keras.backend.backend() == "jax" and name.startswith(_LARGE):
        pytest.skip("JAX compiles each operation of a model by itself, for minutes; tests jit them")
    if keras.backend.backend() not in _EXPORTING.get(name, (keras.backend.backend(),)):
        pytest.skip("it takes a TensorFlow process, as another example and tests/export do")
    cases = [_CASES[name]]
    # The examples of methods go on from the example of their class.
    if name.rpartition(".")[0] in _CASES:
        cases.insert(0, _CASES[name.rpartition(".")[0]])
    if any(_NANO in example.source for case in cases for example in case.examples):
        entry = kem.models.ESPMedSAMImageSegmenter.presets.get(_NANO)
        if entry is None or not entry["weights"]:
            pytest.skip(f"the weights of the preset {_NANO} are not in this checkout")
    report, names = [], {}
    runner = doctest.DocTestRunner(verbose=False)
    for case in cases:
        case = copy.copy(case)
        case.globs = names = {**case.globs, **names}
        runner.run(case, out=report.append, clear_globs=False)
    assert not runner.failures, "".join(report)
