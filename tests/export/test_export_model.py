"""Artefacts, written from any backend and run in their own runtime."""

import hashlib
import json
import runpy
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest

import keras_espmedsam as kem
from keras_espmedsam.export import ExportedSegmenter, comparison
from keras_espmedsam.export.formats.tflite import operators
from keras_espmedsam.export.request import make_request
from keras_espmedsam.export.runtimes import RUNTIMES
from keras_espmedsam.export.tensorflow_process import write

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "exported"
SUFFIXES = {"saved_model": "", "tflite": ".tflite", "onnx": ".onnx", "openvino": ".xml"}
# From another backend each takes a TensorFlow process; one there shows that this works.
FORMATS = list(SUFFIXES) if keras.backend.backend() == "tensorflow" else ["onnx"]


@pytest.fixture(scope="module", params=FORMATS)
def artefact(request, segmenter, tmp_path_factory):
    """Path and description of an artefact for images of any size where that can be."""
    path = tmp_path_factory.mktemp(request.param) / f"model{SUFFIXES[request.param]}"
    size = None if request.param == "tflite" else "any"
    return path, segmenter.export_for(request.param, path, size=size, licence="test")


@pytest.fixture
def image():
    return comparison.made_image(np.random.default_rng(5), (96, 120))


def test_it_was_compared_in_its_runtime(artefact):
    _, description = artefact
    assert description["difference"] < 1e-4


def test_it_can_be_used_alone(artefact):
    path, description = artefact
    beside = json.loads(path.with_name(f"{path.name}.json").read_text())
    assert beside == {key: value for key, value in description.items() if key != "path"}
    assert beside["modalities"] == ["skin", "lung", "eye"]
    assert beside["licence"] == "test"
    for name, digest in beside["sha256"].items():
        assert hashlib.sha256((path.parent / name).read_bytes()).hexdigest() == digest
    assert not list(path.parent.glob(".writing*"))


def test_the_description_is_inside_too(artefact):
    path, description = artefact
    assert _inside(path, description["format"])["modalities"] == ["skin", "lung", "eye"]


def _inside(path, name):
    if name == "saved_model":
        return json.loads((path / "assets.extra" / "espmedsam.json").read_text())
    if name == "tflite":
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("espmedsam.json"))
    if name == "onnx":
        import onnx

        entries = {one.key: one.value for one in onnx.load(str(path)).metadata_props}
        return json.loads(entries["espmedsam"])
    import openvino

    model = openvino.Core().read_model(str(path))
    return json.loads(model.get_rt_info(["espmedsam", "description"]).astype(str))


@pytest.mark.skipif("saved_model" not in FORMATS, reason="the formats are tested on TensorFlow")
def test_a_saved_model_holds_each_weight_once(segmenter, tmp_path):
    import tensorflow as tf

    segmenter.export_for("saved_model", tmp_path / "model", licence="test")
    stored = tf.train.list_variables(str(tmp_path / "model" / "variables" / "variables"))
    values = sum(int(np.prod(shape)) for _, shape in stored)
    assert values <= segmenter.count_params() + 1  # The last is the list of objects.


def test_exported_segmenter_segments_as_the_model(artefact, segmenter, image):
    path, _ = artefact
    found = ExportedSegmenter(path).segment([image, image[:50]], ["eye", "lung"], batch_size=2)
    if path.suffix == ".tflite":
        expected = segmenter.segment([image, image[:50]], ["eye", "lung"])
    else:  # It takes images as they are.
        expected = _native(segmenter).segment([image, image[:50]], ["eye", "lung"])
    for one, other in zip(found["probabilities"], expected["probabilities"], strict=True):
        # Its images are rounded to eight bits after they are resized.
        assert np.abs(one - other).max() < 0.02
        assert one.shape == other.shape


def _native(segmenter):
    converter = kem.models.ESPMedSAMImageConverter()
    preprocessor = kem.models.ESPMedSAMImageSegmenterPreprocessor(converter)
    return kem.models.ESPMedSAMImageSegmenter(segmenter.backbone, preprocessor)


def test_example_program(artefact, image, tmp_path, monkeypatch):
    path, description = artefact
    np.save(tmp_path / "image.npy", image)
    program = EXAMPLES / f"run_{description['format']}.py"
    arguments = [path, tmp_path / "image.npy", tmp_path / "mask.npy", "eye"]
    monkeypatch.setattr(sys, "argv", [str(program), *map(str, arguments)])
    runpy.run_path(str(program), run_name="__main__")
    mask = np.load(tmp_path / "mask.npy")
    assert mask.shape == image.shape[:2]
    assert set(np.unique(mask)) <= {0, 1}
    if path.suffix != ".tflite":  # The others take the image as it is.
        found = ExportedSegmenter(path).segment(image, "eye")["masks"]
        assert (mask == found).mean() > 0.999


@pytest.mark.skipif("tflite" not in FORMATS, reason="TFLite files are tested on TensorFlow")
def test_tflite_has_builtin_operators_alone(segmenter, tmp_path):
    path = tmp_path / "m.tflite"
    segmenter.export_for("tflite", path, modality="eye", flavor="logits", batch_size=2)
    found = operators(path)
    assert "CONV_2D" in found
    assert not [name for name in found if name.startswith(("custom", "FLEX"))]


@pytest.mark.skipif("tflite" not in FORMATS, reason="the formats are tested on TensorFlow")
@pytest.mark.parametrize("name", ["tflite", "onnx", "openvino"])
def test_classifier(classifier, tmp_path, name):
    done = classifier.export_for(name, tmp_path / f"m{SUFFIXES[name]}", precision="float16")
    assert done["class_names"] == ["eye", "lung"]
    assert done["difference"] < comparison.MEAN_TOLERANCE


def test_an_artefact_that_differs_is_not_kept(segmenter, tmp_path, monkeypatch):
    def write(task, request, target, description, calibration):
        target.write_text("wrong")

    class Runtime:
        def __init__(self, path):
            self.path = path

        def __call__(self, inputs):
            shape = inputs["images"].shape[:3]
            return {
                "masks": np.ones(shape, "uint8"),
                "probabilities": np.ones(shape, "float32"),
            }

    module = sys.modules["keras_espmedsam.export.export_model"]
    monkeypatch.setattr(module, "_write", lambda *a: write(*a[:5]))
    monkeypatch.setitem(module.RUNTIMES, "onnx", Runtime)
    with pytest.raises(kem.errors.InputError, match=r"differs.*Nothing was kept"):
        segmenter.export_for("onnx", tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="it writes in this process")
def test_what_another_process_says_is_told(segmenter, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "tensorflow.py").write_text("raise RuntimeError('broken')")
    with pytest.raises(kem.errors.InputError, match="broken"):
        segmenter.export_for("onnx", tmp_path / "m.onnx")


def test_what_a_converter_says_is_told(segmenter, tmp_path, monkeypatch):
    def fail(*arguments):
        raise ValueError("no such operator\nand pages of details")

    module = sys.modules["keras_espmedsam.export.tensorflow_process"]
    monkeypatch.setitem(module.WRITERS, "onnx", fail)
    request = make_request(segmenter, "onnx", tmp_path / "m.onnx")
    with pytest.raises(kem.errors.InputError, match=r"written: ValueError: no such operator Noth"):
        write(segmenter, request, tmp_path / "m.onnx", {}, [])


@pytest.mark.skipif("tflite" not in FORMATS, reason="the formats are tested on TensorFlow")
def test_int8_tflite_holds_quantised_weights_and_runs_masked_attention(classifier, tmp_path):
    image = comparison.made_image(np.random.default_rng(0), (64, 64))[None]
    found, size = {}, {}
    for precision in ("float32", "int8"):
        path = tmp_path / f"{precision}.tflite"
        request = make_request(classifier, "tflite", path, (64, 64), precision=precision)
        write(classifier, request, path, {"licence": "test"}, [])
        runtime = RUNTIMES["tflite"](path)
        (found[precision],) = runtime({"images": image}).values()
        size[precision] = path.stat().st_size
    types = {one["dtype"] for one in runtime.interpreter.get_tensor_details()}
    assert np.int8 in types and size["int8"] < size["float32"]
    np.testing.assert_allclose(found["int8"], found["float32"], atol=0.05)


@pytest.mark.skipif("tflite" not in FORMATS, reason="the formats are tested on TensorFlow")
def test_int8_onnx_holds_quantised_weights_and_runs(segmenter, tmp_path):
    path = tmp_path / "m.onnx"
    request = make_request(segmenter, "onnx", path, precision="int8", batch_size=1)
    rng = np.random.default_rng(0)
    samples = [
        {
            "images": comparison.made_image(rng, request.size)[None],
            "modalities": np.array([i % 3], "int32"),
        }
        for i in range(3)
    ]
    write(segmenter, request, path, {"licence": "test"}, samples)
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]
    model = onnx.load(path)
    assert "QuantizeLinear" in {node.op_type for node in model.graph.node}
    assert {entry.key for entry in model.metadata_props} >= {"espmedsam", "licence"}
    found = RUNTIMES["onnx"](path)(samples[0])
    assert found["masks"].shape == (1, 64, 64) and np.isfinite(found["probabilities"]).all()
