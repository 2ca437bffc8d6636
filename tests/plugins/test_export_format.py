"""A format of another package: one file, used by its name everywhere."""

import json

import keras
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import keras_espmedsam as kem
from keras_espmedsam.cli.app import app
from keras_espmedsam.export import ExportedSegmenter, export_model
from keras_espmedsam.registries import export_formats
from tests.small_segmenter import small_segmenter

# Weights as NumPy's, and the model's configuration: it runs wherever Keras does.
SOURCE = '''
import json
import zipfile

from keras_espmedsam.export import ExportFormat


class WeightsInZip(ExportFormat):
    """The model's configuration and its weights as NumPy's .npy, in a ZIP archive."""

    suffix = ".kzip"
    runtime = "keras"
    install = "pip install zipped-weights"
    backend = None
    any_size = True
    open_batch = True

    def write(self, task, request, path, description, calibration):
        import keras
        import numpy as np

        config = keras.saving.serialize_keras_object(task)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("description.json", json.dumps(description))
            archive.writestr("model.json", json.dumps(config))
            for i, weight in enumerate(task.weights):
                with archive.open(f"{i}.npy", "w") as file:
                    np.save(file, keras.ops.convert_to_numpy(weight.value))

    def load(self, path):
        return Runtime(path)


class Runtime:
    def __init__(self, path):
        import keras
        import numpy as np

        from keras_espmedsam.layers.conv_norm import folded_norms

        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("model.json"))
            with folded_norms():  # A task is folded before it is written.
                self.task = keras.saving.deserialize_keras_object(config)
            for i, weight in enumerate(self.task.weights):
                with archive.open(f"{i}.npy") as file:
                    weight.assign(np.load(file))

    def __call__(self, inputs):
        import numpy as np

        from keras_espmedsam.export.request import normalization

        mean, divisor = normalization(self.task)
        images = (inputs["images"].astype("float32") - mean) / divisor
        prepared = self.task.model_inputs(images, inputs.get("modalities"))
        logits = np.asarray(self.task.predict_prepared(prepared)["masks"])[..., 0]
        return {
            "masks": (logits >= 0).astype("uint8"),
            "probabilities": 1 / (1 + np.exp(-logits)),
        }
'''


@pytest.fixture(scope="module")
def segmenter():
    segmenter = small_segmenter(("skin", "eye"))
    rng = np.random.default_rng(2)
    for weight in segmenter.weights:
        if "moving_variance" not in weight.path:
            weight.assign(rng.normal(scale=0.2, size=weight.shape).astype("float32"))
    return segmenter


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 256, (50, 70, 3)).astype("uint8")


@pytest.fixture
def entry_point(installed_plugin):
    installed_plugin(
        {"zipped_weights.py": SOURCE}, {"export_formats": {"kzip": "zipped_weights:WeightsInZip"}}
    )


@pytest.mark.slow_on("jax", "tensorflow")
def test_it_is_written_and_used_from_python(entry_point, segmenter, image, tmp_path):
    path = tmp_path / "eye.kzip"
    done = segmenter.export_for("kzip", path, modality="eye")
    assert (done["format"], done["modalities"]) == ("kzip", ["eye"])
    assert done["difference"] < 1e-4 and list(done["sha256"]) == ["eye.kzip"]
    expected = segmenter.segment(image, "eye")
    for one in (ExportedSegmenter(path), str(path)):
        if isinstance(one, str):
            one = kem.inference.load_models.load_segmenter(one)
        found = one.segment(image)
        # Its images are rounded to eight bits after they are resized.
        assert np.abs(found["probabilities"] - expected["probabilities"]).max() < 0.02


@pytest.mark.slow_on("jax", "tensorflow")
def test_it_is_written_and_used_by_the_commands(entry_point, segmenter, image, tmp_path):
    segmenter.save_to_preset(str(tmp_path / "preset"))
    Image.fromarray(image).save(tmp_path / "image.png")
    exported = _run(
        *("export", "--preset", tmp_path / "preset", "--format", "kzip", "--size", "64", "64"),
        *("--output", tmp_path / "both.kzip"),
    )
    assert exported.exit_code == 0, exported.output
    assert json.loads((tmp_path / "both.kzip.json").read_text())["modalities"] == ["skin", "eye"]
    done = _run(
        *("segment", tmp_path / "image.png", "--preset", tmp_path / "both.kzip"),
        *("--modality", "eye", "--output", tmp_path / "masks"),
    )
    assert done.exit_code == 0, done.output
    (mask,) = (tmp_path / "masks").glob("*.png")
    expected = ExportedSegmenter(tmp_path / "both.kzip").segment(image, "eye")["masks"]
    np.testing.assert_array_equal(np.asarray(Image.open(mask)) > 0, expected > 0)


@pytest.mark.slow_on("jax", "tensorflow")
def test_it_is_known_to_a_program_that_registers_it(installed_plugin, segmenter, tmp_path):
    installed_plugin({"zipped_weights.py": SOURCE})
    import zipped_weights

    export_formats.register("zipped", zipped_weights.WeightsInZip)
    try:
        done = export_model(segmenter, "zipped", tmp_path / "m.kzip", size="any")
        assert done["difference"] < 1e-4
    finally:
        export_formats.unregister("zipped")


@pytest.mark.slow_on("jax")
@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="it writes in this process")
def test_the_process_that_writes_finds_what_was_registered(installed_plugin, segmenter, tmp_path):
    source = SOURCE.replace("backend = None", 'backend = "tensorflow"')
    installed_plugin({"zipped_weights.py": source})
    export_formats.register("zipped", "zipped_weights:WeightsInZip")
    try:
        done = export_model(segmenter, "zipped", tmp_path / "m.kzip", modality="skin")
        assert done["difference"] < 1e-4
    finally:
        export_formats.unregister("zipped")


def test_what_is_no_format_and_what_is_not_known(installed_plugin, segmenter, tmp_path):
    installed_plugin({"a_string.py": "X = 'x'"}, {"export_formats": {"string": "a_string:X"}})
    for name, says in (
        ("string", "expected a class derived from keras_espmedsam.export.ExportFormat"),
        ("kzip", r"expected one of saved_model, tflite, onnx, openvino, web, string"),
    ):
        with pytest.raises(kem.errors.InputError, match=says):
            segmenter.export_for(name, tmp_path / "m.kzip")
    # One that is broken does not stand in the way of the others.
    with pytest.raises(kem.errors.InputError, match="choose saved_model, onnx, openvino"):
        segmenter.export_for("tflite", tmp_path / "m.tflite", size="any")


def test_an_artefact_whose_package_is_gone(installed_plugin, tmp_path):
    (tmp_path / "m.onnx.json").write_text(json.dumps({"format": "kzip", "task": "segmentation"}))
    with pytest.raises(kem.errors.InputError, match="format 'kzip'; expected one of saved_model"):
        ExportedSegmenter(tmp_path / "m.onnx")


def _run(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])
