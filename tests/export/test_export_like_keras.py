"""Keras' `export`: one verb, and the same artefact from every backend."""

from pathlib import Path

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.export import _export_like_keras
from keras_espmedsam.export._export_like_keras import _signature

BACKEND = keras.backend.backend()
SUFFIXES = {"tf_saved_model": "", "litert": ".tflite", "onnx": ".onnx", "openvino": ".xml"}
# Each takes a TensorFlow process from another backend: the default, and one file.
WRITTEN = {"tensorflow": list(SUFFIXES), "jax": ["tf_saved_model"], "torch": ["onnx"]}[BACKEND]
# PyTorch writes ONNX here, and test_every_format.py writes both.
ELSEWHERE = ("onnx", "openvino")


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)
    return {
        "images": rng.normal(size=(1, 64, 64, 3)).astype("float32"),
        "modalities": np.array([2], "int32"),
    }


def _run(name, path, inputs):
    """What an artefact gives, in the way of Keras' documentation."""
    if name == "tf_saved_model":
        import tensorflow as tf

        loaded = tf.saved_model.load(path)
        return {key: value.numpy() for key, value in loaded.serve(inputs).items()}
    if name == "litert":
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter(path).get_signature_runner()(**inputs)
    if name == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_outputs()]
        return dict(zip(names, session.run(None, inputs), strict=True))
    import openvino

    model = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {name: model(inputs)[name] for name in ("masks", "patches", "quality", "scope_score")}


@pytest.mark.slow_on("jax")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow_on("tensorflow")] * (name in ELSEWHERE))
        for name in WRITTEN
    ],
)
def test_it_gives_what_the_model_gives(segmenter, inputs, tmp_path, name):
    path = tmp_path / f"model{SUFFIXES[name]}"
    segmenter.export(path, format=name, verbose=False)
    found = _run(name, str(path), inputs)
    expected = segmenter(inputs, training=False)
    assert set(found) == set(expected)
    for key, value in expected.items():
        value = keras.ops.convert_to_numpy(value)
        scale = max(1, np.abs(value).max())
        np.testing.assert_allclose(found[key] / scale, value / scale, atol=1e-5)


@pytest.mark.skipif(BACKEND != "torch", reason="PyTorch alone writes it")
def test_pytorch_writes_its_own_for_one_image_of_the_preprocessors_size(
    segmenter, inputs, tmp_path
):
    import torch

    path = tmp_path / "model.pt2"
    segmenter.export(path, format="torch", verbose=False)
    program = torch.export.load(path).module()
    found = program({name: torch.tensor(value) for name, value in inputs.items()})
    expected = segmenter(inputs, training=False)
    for key, value in expected.items():
        np.testing.assert_allclose(
            found[key].detach().numpy(), value.detach().numpy(), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize(
    "models", ["segmenter", "backbone", "encoder", "classifier", "classifier backbone"]
)
def test_all_of_them_lead_to_it(models, segmenter, classifier, tmp_path, monkeypatch):
    """Tasks and backbones alike; what arrives at the process, or at Keras, is what was asked."""
    model = {
        "segmenter": segmenter,
        "backbone": segmenter.backbone,
        "encoder": segmenter.backbone.image_encoder,
        "classifier": classifier,
        "classifier backbone": classifier.backbone,
    }[models]
    asked = {}

    def note(model, filepath=None, **options):
        asked.update(options, filepath=filepath, model=model)
        Path(filepath).write_text(options["format"])

    monkeypatch.setattr(_export_like_keras, "export_elsewhere", note)
    monkeypatch.setattr(keras.Model, "export", note)
    model.export(tmp_path / "new" / "m", format="tf_saved_model")
    assert Path(asked["filepath"]).name == "m" and asked["model"] is model
    assert (tmp_path / "new" / "m").read_text() == "tf_saved_model"
    for ours, theirs in (("tflite", "litert"), ("saved_model", "tf_saved_model")):
        model.export(tmp_path / "m", format=ours)
        assert asked["format"] == theirs
    model.export(tmp_path / "m")
    assert asked["format"] == "tf_saved_model"


def test_what_was_there_stays_until_the_new_one_is_whole(segmenter, tmp_path, monkeypatch):
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "old").write_text("old")

    def write(model, filepath=None, **options):
        assert (folder / "old").read_text() == "old"
        Path(filepath).mkdir()
        (Path(filepath) / "new").write_text("new")
        for error in fails:
            raise error

    monkeypatch.setattr(_export_like_keras, "export_elsewhere", write)
    monkeypatch.setattr(keras.Model, "export", write)
    fails = [KeyboardInterrupt(), OSError(28, "full")]
    while fails:
        with pytest.raises((KeyboardInterrupt, kem.errors.InputError)):
            segmenter.export(folder)
        assert [one.name for one in folder.iterdir()] == ["old"]
        del fails[0]
    segmenter.export(folder)
    assert sorted(one.name for one in folder.iterdir()) == ["new", "old"]
    assert [one.name for one in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    "options, says",
    [
        (dict(format="onxx"), "did you mean onnx"),
        (dict(format=None), "expected one of tf_saved_model, litert, onnx, openvino, torch"),
        (dict(format="openvin"), "export_for"),
    ],
)
def test_refused(segmenter, tmp_path, options, says):
    with pytest.raises(kem.errors.InputError, match=says):
        segmenter.export(tmp_path / "m", **options)


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch writes it")
def test_what_pytorch_alone_writes_is_refused_elsewhere(segmenter, tmp_path):
    with pytest.raises(kem.errors.InputError, match="KERAS_BACKEND=torch, or choose one of"):
        segmenter.export(tmp_path / "m.pt2", format="torch")


@pytest.mark.skipif(BACKEND == "tensorflow", reason="Keras takes all of its options there")
@pytest.mark.parametrize("name", ["is_static", "jax2tf_kwargs", "optimizations"])
def test_options_that_the_other_process_cannot_be_told(segmenter, tmp_path, name):
    with pytest.raises(kem.errors.InputError, match=f"Received {name} with Keras on {BACKEND}"):
        segmenter.export(tmp_path / "m", **{name: True})


def test_the_size_is_that_of_the_preprocessor_where_one_is_needed(segmenter):
    (found,) = _signature(segmenter, "litert")
    assert found["images"].shape == (1, 64, 64, 3) and found["images"].dtype == "float32"
    assert found["modalities"].shape == (1,) and found["modalities"].dtype == "int32"
    for model, name in ((segmenter, "onnx"), (segmenter.backbone, "litert")):
        (found,) = _signature(model, name)  # As Keras has it.
        assert found["images"].shape == (None, None, None, 3)
        assert found["modalities"].shape == (None,) and found["images"].name == "images"
    with pytest.raises(
        kem.errors.InputError, match="input_signature, a list of the model's inputs"
    ):
        _signature(segmenter.backbone, "torch")


@pytest.mark.skipif(BACKEND == "tensorflow", reason="Keras writes them itself there")
def test_onnx_of_a_backbone_or_of_other_shapes_is_refused(segmenter, tmp_path):
    for model, options in (
        (segmenter.backbone, {}),
        (segmenter, {"opset_version": 18}),
        (segmenter, {"input_signature": [segmenter.input]}),
    ):
        with pytest.raises(kem.errors.InputError, match="use export_for"):
            model.export(tmp_path / "m.onnx", format="onnx", **options)
