"""What cannot be exported is refused in one sentence, before any work."""

import re

import pytest

import keras_espmedsam as kem
from keras_espmedsam.export.formats import check_installed, get_format
from keras_espmedsam.export.request import make_request


@pytest.mark.parametrize(
    "options, says",
    [
        (dict(format="onxx"), "did you mean onnx"),
        (dict(precision="fp16"), "float32, float16, int8"),
        (dict(flavor="masks"), "images or logits"),
        (dict(size=(64, 70)), "such as 64 x 64"),
        (dict(size=(0, 0)), "such as 32 x 32"),
        (dict(size=64), "(height, width) or 'any'"),
        (dict(size="all"), "(height, width) or 'any'"),
        (dict(batch_size=0), "1 or more"),
    ],
)
def test_refused(segmenter, tmp_path, options, says):
    options = {"format": "onnx", "path": "m.onnx", **options}
    options["path"] = tmp_path / options["path"]
    with pytest.raises(kem.errors.InputError, match=re.escape(says)):
        make_request(segmenter, **options)


def test_what_is_there_is_kept(segmenter, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_text("mine")
    with pytest.raises(kem.errors.InputError, match="already"):
        segmenter.export_for("onnx", path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("modality, says", [("heart", "Unknown modality"), (7, "0 to 2")])
def test_unknown_modality(segmenter, tmp_path, modality, says):
    with pytest.raises(kem.errors.InputError, match=says):
        segmenter.export_for("onnx", tmp_path / "m.onnx", modality=modality)


def test_calibration_is_for_int8_and_int8_needs_it(segmenter, tmp_path):
    with pytest.raises(kem.errors.InputError, match="for int8"):
        segmenter.export_for("onnx", tmp_path / "m.onnx", calibration=[])
    with pytest.raises(kem.errors.InputError, match="real images"):
        segmenter.export_for("onnx", tmp_path / "m.onnx", precision="int8")
    with pytest.raises(kem.errors.InputError, match="at least two"):
        segmenter.export_for("onnx", tmp_path / "m.onnx", precision="int8", calibration=[])


def test_missing_library_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(kem.errors.InputError, match=r"tf2onnx.*keras-espmedsam\[export\]"):
        check_installed(get_format("onnx"))


def test_defaults(segmenter, tmp_path):
    request = make_request(segmenter, "tflite", tmp_path / "m.tflite")
    assert (request.size, request.batch_size, request.input_dtype) == ((64, 64), 1, "uint8")
    request = make_request(segmenter, "onnx", tmp_path / "m.onnx", "any", flavor="logits")
    assert (request.size, request.batch_size, request.input_dtype) == (None, None, "float32")
    assert request.description_path == tmp_path / "m.onnx.json"


def test_the_flavor_of_version_0_1_0_is_taken(segmenter, tmp_path):
    request = make_request(segmenter, "onnx", tmp_path / "m.onnx", flavor="pictures")
    assert request.flavor == "images"
