import importlib.util
import json
import logging
import os
import subprocess
import sys
import types
import warnings

import pytest

from keras_espmedsam import _startup
from keras_espmedsam.cli import loading
from keras_espmedsam.errors import InputError


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    for name in ("TF_CPP_MIN_LOG_LEVEL", "GRPC_VERBOSITY"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
        monkeypatch.delenv(name)
    levels = {name: logging.getLogger(name).level for name in ("tensorflow", "absl", "jax")}
    with warnings.catch_warnings():
        yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def from_preset(monkeypatch):
    """Let `from_preset` be the given function, in a package that needs no Keras."""

    def patch(function):
        module = types.ModuleType("keras_espmedsam.models")
        module.ESPMedSAMImageSegmenter = types.SimpleNamespace(from_preset=function)
        module.TiCImageClassifier = types.SimpleNamespace(from_preset=lambda n: function(n.upper()))
        monkeypatch.setitem(sys.modules, "keras_espmedsam.models", module)

    return patch


@pytest.fixture
def preset(tmp_path):
    """A folder that passes for a preset as long as nobody reads it."""
    config = {"module": "mine", "class_name": "Mine", "config": {}, "registered_name": "Mine"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


def test_a_wrong_name_is_told_before_keras_starts(monkeypatch):
    monkeypatch.setattr(loading, "import_models", lambda: pytest.fail("Keras started"))
    for function in (loading.load_segmenter, loading.load_recognizer, loading.check_preset):
        with pytest.raises(InputError, match=r"^Unknown preset 'nona': neither a folder nor one"):
            function("nona")


def test_what_is_loaded_is_returned(from_preset, preset):
    from_preset(lambda name: ["loaded", name])
    assert loading.load_segmenter(preset) == ["loaded", preset]
    assert loading.load_recognizer(preset) == ["loaded", preset.upper()]
    assert loading.import_segmenter_class().from_preset(preset) == ["loaded", preset]


def test_what_is_computed_in_is_checked_before_keras_starts_and_handed_on(monkeypatch, preset):
    with monkeypatch.context() as patch:
        patch.setattr(loading, "import_models", lambda: pytest.fail("Keras started"))
        for given in ((preset, "int8"), ("eye.onnx", "bfloat16")):
            with pytest.raises(InputError, match=r"to compute in|only in float32, not in bfloat16"):
                loading.load_segmenter(*given)
    monkeypatch.setattr(loading, "import_models", lambda: None)
    module = types.ModuleType("keras_espmedsam.models")
    module.ESPMedSAMImageSegmenter = types.SimpleNamespace(
        from_preset=lambda name, **options: options
    )
    monkeypatch.setitem(sys.modules, "keras_espmedsam.models", module)
    assert loading.load_segmenter(preset) == {}
    assert loading.load_segmenter(preset, "float32") == {"dtype": "float32"}
    assert loading.load_segmenter(preset, "bfloat16") == {"dtype": "mixed_bfloat16"}


def test_tensorflow_is_silenced_unless_the_user_says_otherwise(monkeypatch):
    _startup.silence_backends()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    _startup.silence_backends()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"


def test_what_cpp_prints_is_discarded_and_stderr_comes_back(capfd):
    with _startup.stderr_discarded():
        os.write(2, b"I0000 cuda drivers")
    os.write(2, b"ours")
    assert capfd.readouterr().err == "ours"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.parametrize(
    ("end", "code"), [("os._exit(2)", 2), ("os.abort()", -6), ("os.kill(os.getpid(), 9)", -9)]
)
def test_what_a_library_says_that_ends_the_program_is_not_lost(end, code):
    program = (
        "import os, threading, time\n"
        "from keras_espmedsam import _startup\n"
        "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n"
        "with _startup.stderr_discarded():\n"
        "    os.write(2, b'x' * 100_000)\n"
        "    os.write(2, b'FATAL: no such instruction\\n')\n"
        f"    {end}\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == code
    assert "FATAL: no such instruction\nerror: The program was ended" in done.stderr
    assert len(done.stderr) < 10_000


def test_a_program_that_another_one_started_is_not_waited_for():
    program = (
        "import subprocess\n"
        "from keras_espmedsam import _startup\n"
        "with _startup.stderr_discarded():\n"
        "    other = subprocess.Popen(['sleep', '30'])\n"
        "print('done', flush=True)\n"
        "other.kill()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=25
    )
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


def test_our_errors_pass_unchanged(from_preset, preset):
    def fail(name):
        raise InputError(f"{name} is damaged.")

    from_preset(fail)
    with pytest.raises(InputError) as caught:
        loading.load_segmenter(preset)
    assert str(caught.value) == f"{preset} is damaged."


def test_other_errors_become_one_sentence(from_preset, preset):
    def fail(name):
        raise OSError("Unable to open file\nwith a long story")

    from_preset(fail)
    with pytest.raises(InputError) as caught:
        loading.load_segmenter(preset)
    assert str(caught.value) == (
        f"The preset {preset} cannot be loaded (OSError: Unable to open file). "
        "See `espmedsam presets` for the built-in ones."
    )


def test_no_backend(monkeypatch, preset):
    def none():
        raise ImportError('install one: pip install "keras-espmedsam[tensorflow]"')

    monkeypatch.setattr(_startup, "choose_backend", none)
    with pytest.raises(InputError, match=r"keras-espmedsam\[tensorflow\]"):
        loading.load_segmenter(preset)


def test_a_backend_that_cannot_be_imported(monkeypatch, preset):
    monkeypatch.setattr(_startup, "choose_backend", lambda: "jax")
    monkeypatch.setitem(sys.modules, "keras_espmedsam.models", None)
    with pytest.raises(InputError, match="cannot be started on the backend jax"):
        loading.load_segmenter(preset)


def test_few_images_are_not_traced_on_tensorflow(monkeypatch):
    for backend, count, eagerly in (
        ("tensorflow", 8, True),
        ("tensorflow", 9, False),
        ("torch", 1, False),
        ("jax", 1, False),
    ):
        monkeypatch.setattr(loading, "choose_backend", lambda backend=backend: backend)
        models = [types.SimpleNamespace(run_eagerly=False) for _ in range(2)]
        loading.prepare_for(count, *models)
        assert [model.run_eagerly for model in models] == [eagerly, eagerly], (backend, count)


SCRIPT = """
import sys
from keras_espmedsam.cli import loading

loading.load_segmenter("espmedsam_nano_256")
assert "keras_hub" in sys.modules
print("tensorflow" in sys.modules)
import tensorflow
"""


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed"
)
def test_tensorflow_is_imported_where_it_is_the_backend_alone():
    result = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(loading.choose_backend() == "tensorflow")
