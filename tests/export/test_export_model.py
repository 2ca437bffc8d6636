"""What is kept of an export, and what is not."""

import keras
import numpy as np
import onnx
import pytest

import keras_espmedsam as kem
from keras_espmedsam.export import comparison, get_format
from keras_espmedsam.export.description import describe
from keras_espmedsam.export.formats.onnx import ONNX
from keras_espmedsam.export.formats.tflite import operators
from keras_espmedsam.export.other_process import write
from keras_espmedsam.export.request import make_request

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the formats are tested where they are written"
)


@on_tensorflow
def test_a_saved_model_holds_each_weight_once(segmenter, tmp_path):
    import tensorflow as tf

    segmenter.export_for("saved_model", tmp_path / "model", licence="test")
    stored = tf.train.list_variables(str(tmp_path / "model" / "variables" / "variables"))
    values = sum(int(np.prod(shape)) for _, shape in stored)
    assert values <= segmenter.count_params() + 1  # The last is the list of objects.


@on_tensorflow
def test_tflite_has_builtin_operators_alone(segmenter, tmp_path):
    path = tmp_path / "m.tflite"
    segmenter.export_for("tflite", path, modality="eye", flavor="logits", batch_size=2)
    found = operators(path)
    assert "CONV_2D" in found
    assert not [name for name in found if name.startswith(("custom", "FLEX"))]


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

    module = "keras_espmedsam.export._export_model._write"
    monkeypatch.setattr(module, lambda *arguments: write(*arguments[:5]))
    monkeypatch.setattr(ONNX, "load", lambda self, path: Runtime(path))
    with pytest.raises(kem.errors.InputError, match=r"differs.*Nothing was kept"):
        segmenter.export_for("onnx", tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_a_converter_says_is_told(segmenter, tmp_path, monkeypatch):
    def fail(*arguments):
        raise ValueError("no such operator\nand pages of details")

    monkeypatch.setattr(ONNX, "write", fail)
    request = make_request(segmenter, "onnx", tmp_path / "m.onnx")
    with pytest.raises(kem.errors.InputError, match=r"written: ValueError: no such operator Noth"):
        write(segmenter, request, tmp_path / "m.onnx", {}, [])


@on_tensorflow
def test_int8_tflite_holds_quantised_weights_and_runs_masked_attention(classifier, tmp_path):
    image = comparison.made_image(np.random.default_rng(0), (64, 64))[None]
    found, size = {}, {}
    for precision in ("float32", "int8"):
        path = tmp_path / f"{precision}.tflite"
        request = make_request(classifier, "tflite", path, (64, 64), precision=precision)
        write(classifier, request, path, {"licence": "test"}, [])
        runtime = get_format("tflite").load(path)
        (found[precision],) = runtime({"images": image}).values()
        size[precision] = path.stat().st_size
    types = {one["dtype"] for one in runtime.interpreter.get_tensor_details()}
    assert np.int8 in types and size["int8"] < size["float32"]
    np.testing.assert_allclose(found["int8"], found["float32"], atol=0.05)


@on_tensorflow
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
    found = get_format("onnx").load(path)(samples[0])
    assert found["masks"].shape == (1, 64, 64) and np.isfinite(found["probabilities"]).all()


def test_the_licence_is_the_cards_or_unknown(classifier, tmp_path):
    request = make_request(classifier, "onnx", tmp_path / "m.onnx")
    known = describe(classifier, request, preset="espmedsam_nano_256")
    assert known["licence"] == "research-use-only"
    assert describe(classifier, request, "espmedsam_nano_256", "mine")["licence"] == "mine"
    for preset in (None, "one that its maker alone knows", str(tmp_path)):
        assert describe(classifier, request, preset)["licence"] == "unknown"


def test_options_keep_their_places(segmenter, classifier, monkeypatch):
    """As in version 0.1.0: a classifier's have no modality among them."""
    asked = []
    monkeypatch.setattr(
        "keras_espmedsam.models.tasks.upward", lambda name: lambda *a: asked.append(a)
    )
    segmenter.export_for("onnx", "m.onnx", (64, 64), "eye", "float16", "logits")
    classifier.export_for("onnx", "m.onnx", (64, 64), "float16", "logits")
    assert asked[0][1:] == ("onnx", "m.onnx", (64, 64), "eye", "float16", "logits")
    assert asked[1][1:] == ("onnx", "m.onnx", (64, 64), None, "float16", "logits")
