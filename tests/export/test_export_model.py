"""What is kept of an export, and what is not."""

import hashlib
import json
import os
import threading

import keras
import numpy as np
import onnx
import pytest

import keras_espmedsam as kem
from keras_espmedsam.export import comparison, get_format
from keras_espmedsam.export.description import describe, preset_name
from keras_espmedsam.export.formats.onnx import ONNX
from keras_espmedsam.export.formats.tflite import operators
from keras_espmedsam.export.other_process import write
from keras_espmedsam.export.request import make_request
from keras_espmedsam.export.target_planes import draw_planes

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the formats are tested where they are written"
)


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
                "quality": np.ones((shape[0], 1), "float32"),
                "scope_score": np.ones(shape[0], "float32"),
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
def test_int8_tflite_of_several_targets_is_near_the_float_one(with_targets, tmp_path):
    """Minus infinity and the softmax of a group are not quantised."""
    image = comparison.made_image(np.random.default_rng(0), (64, 64))[None]
    runtimes = {}
    for precision in ("float32", "int8"):
        path = tmp_path / f"{precision}.tflite"
        request = make_request(with_targets, "tflite", path, (64, 64), precision=precision)
        write(with_targets, request, path, {"licence": "test"}, [])
        runtimes[precision] = get_format("tflite").load(path)
    types = {one["dtype"] for one in runtimes["int8"].interpreter.get_tensor_details()}
    assert np.int8 in types
    for index, modality in enumerate(with_targets.modalities):
        inputs = {"images": image, "modalities": np.array([index], "int32")}
        exact, found = (runtimes[name](inputs) for name in ("float32", "int8"))
        number = len(with_targets.target_set.channels(modality))
        assert not found["probabilities"][..., number:].any()
        difference = np.abs(found["probabilities"] - exact["probabilities"])[..., :number]
        assert 0 < difference.max() < 0.01 and difference.mean() < 1e-3
        drawn = draw_planes(found["probabilities"], 0.5, with_targets.target_set, [index])
        for part in ("masks", "labels"):
            assert (found[part] != drawn[part]).mean() < 1e-3  # Rounded at the threshold.
            assert (found[part] == exact[part]).mean() > 0.99


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


class Killed(BaseException):
    pass


@pytest.fixture
def written(monkeypatch):
    """Lets an export write a text in place of a model, and compare nothing."""
    text = {"now": "old"}

    def write(task, request, target, *rest):
        for file in [target] if request.format.suffix else [target / "saved_model.pb"]:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text["now"])

    module = "keras_espmedsam.export._export_model"
    monkeypatch.setattr(f"{module}._write", write)
    monkeypatch.setattr(f"{module}.compare", lambda *given: 0.0)
    for name in ("onnx", "saved_model"):
        monkeypatch.setattr(type(get_format(name)), "load", lambda self, path: None)
    return text


def _pair(path):
    """What an artefact holds, and whether its description is its own."""
    file = path / "saved_model.pb" if path.is_dir() else path
    (expected,) = json.loads(path.with_name(f"{path.name}.json").read_text())["sha256"].values()
    return file.read_text(), hashlib.sha256(file.read_bytes()).hexdigest() == expected


@pytest.mark.parametrize("name, file", [("onnx", "m.onnx"), ("saved_model", "m")])
def test_killed_at_any_step_the_two_are_of_one_export_or_refused(
    segmenter, tmp_path, written, monkeypatch, name, file
):
    path = tmp_path / file
    segmenter.export_for(name, path)
    assert _pair(path) == ("old", True)
    replace, steps = os.replace, [0]

    def killed(*given, **named):
        if steps[0] == 0:
            raise Killed
        steps[0] -= 1
        return replace(*given, **named)

    monkeypatch.setattr(os, "replace", killed)
    for step in range(3):
        written["now"], steps[0] = f"new {step}", step
        before = _pair(path)
        try:
            segmenter.export_for(name, path, overwrite=True)
        except Killed:
            if _pair(path) != before:
                with pytest.raises(kem.errors.InputError, match="description"):
                    kem.export.ExportedSegmenter(path)
    steps[0] = -1
    segmenter.export_for(name, path, overwrite=True)
    assert _pair(path) == ("new 2", True)
    assert sorted(os.listdir(tmp_path)) == sorted([file, f"{file}.json"])


@pytest.mark.parametrize("name, file", [("onnx", "m.onnx"), ("saved_model", "m")])
def test_of_two_exports_to_one_path_the_files_of_one_stay(segmenter, tmp_path, written, name, file):
    path, errors = tmp_path / file, []

    def export():
        try:
            segmenter.export_for(name, path, overwrite=True)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=export) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not errors and _pair(path) == ("old", True)
    assert sorted(os.listdir(tmp_path)) == sorted([file, f"{file}.json"])


def test_what_came_there_meanwhile_is_kept(segmenter, tmp_path, written, monkeypatch):
    path = tmp_path / "m.onnx"
    monkeypatch.setattr(
        "keras_espmedsam.export._export_model.compare",
        lambda *given: path.write_text("mine") and 0.0,
    )
    with pytest.raises(kem.errors.InputError, match="already"):
        segmenter.export_for("onnx", path)
    assert path.read_text() == "mine" and os.listdir(tmp_path) == ["m.onnx"]


def test_what_killed_exports_left_is_removed(segmenter, tmp_path, written):
    (tmp_path / ".writing-held-0abc_def").mkdir()
    segmenter.export_for("onnx", tmp_path / "m.onnx")
    assert sorted(os.listdir(tmp_path)) == ["m.onnx", "m.onnx.json"]


def test_what_is_no_artefact_is_not_replaced(segmenter, tmp_path, written):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("mine")
    (tmp_path / "m.onnx").mkdir()
    for name, file in (("saved_model", "home"), ("onnx", "m.onnx")):
        with pytest.raises(kem.errors.InputError, match=r"something other than|is a folder"):
            segmenter.export_for(name, tmp_path / file, overwrite=True)
    assert (tmp_path / "home" / "letter").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_told(segmenter, tmp_path, written):
    (tmp_path / "file").write_text("")
    with pytest.raises(kem.errors.InputError, match=r"cannot be written \(.*\); give another path"):
        segmenter.export_for("onnx", tmp_path / "file" / "m.onnx")


@pytest.mark.parametrize(
    "given, kept",
    [
        (None, None),
        ("tic_tiny", "tic_tiny@1"),
        ("espmedsam_nano_256@1", "espmedsam_nano_256@1"),
        ("hf://lab/eye", "hf://lab/eye"),
        ("kaggle://lab/eye/keras/nano", "kaggle://lab/eye/keras/nano"),
        ("/home/somebody/trials/eye_7", "eye_7"),
        ("trials/eye_7/", "eye_7"),
        ("../trials/./eye_7", "eye_7"),
        ("C:\\Users\\somebody\\eye_7", "eye_7"),
        ("file:///home/somebody/eye_7", "eye_7"),
    ],
)
def test_of_a_preset_its_name_alone_travels(given, kept):
    assert preset_name(given) == kept


def test_of_the_working_folder_its_name_travels(tmp_path, monkeypatch):
    (tmp_path / "eye_7" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "eye_7" / "inner")
    assert [preset_name(one) for one in (".", "..", tmp_path / "eye_7")] == [
        "inner",
        "eye_7",
        "eye_7",
    ]


def test_no_path_of_the_machine_is_in_a_description(segmenter, tmp_path, written):
    segmenter.export_for("onnx", tmp_path / "m.onnx", preset=str(tmp_path / "mine" / "eye_7"))
    text = (tmp_path / "m.onnx.json").read_text()
    assert '"preset": "eye_7"' in text and str(tmp_path) not in text
