"""What both tasks share, and files segmented by real models."""

import contextlib
import json
import threading
import warnings

import keras_hub
import numpy as np
import pytest
from PIL import Image

import keras_espmedsam as kem
from keras_espmedsam import _upward
from keras_espmedsam.errors import InputError, InputWarning
from keras_espmedsam.inference import ResultWriter, segment_files
from keras_espmedsam.models import tasks


@pytest.fixture(scope="module")
def segmenter(build):
    """One that compiles fast, but whose masks differ between the modalities."""
    return build.randomize(build.plain_segmenter())


@pytest.fixture(scope="module")
def classifier():
    models = kem.models
    backbone = models.TiCBackbone(
        hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3
    )
    preprocessor = models.TiCImageClassifierPreprocessor(
        models.TiCImageConverter(image_size=(16, 16))
    )
    return models.TiCImageClassifier(
        backbone, class_names=("eye", "lung"), preprocessor=preprocessor
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Images of several sizes and kinds, one of three frames, and one that is damaged."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (50, 70, 3)), ("b.png", (64, 64)), ("d.jpg", (40, 90, 3))):
        Image.fromarray(rng.integers(0, 256, size, "uint8")).save(folder / name)
    frames = [Image.fromarray(rng.integers(0, 256, (30, 40), "uint8")) for _ in range(3)]
    frames[0].save(folder / "c.tif", save_all=True, append_images=frames[1:])
    (folder / "e.png").write_bytes((folder / "a.png").read_bytes()[:200])
    return folder


def test_what_each_is(segmenter, classifier):
    assert (segmenter.is_segmenter, segmenter.takes_modalities) == (True, True)
    assert (classifier.is_segmenter, classifier.takes_modalities) == (False, False)
    assert segmenter.specialize("eye").takes_modalities is False
    assert isinstance(segmenter, keras_hub.models.ImageSegmenter)
    assert isinstance(classifier, keras_hub.models.ImageClassifier)


@pytest.mark.parametrize("name", ["ImageSegmenter", "ImageClassifier"])
def test_a_preset_names_keras_hubs_task(segmenter, classifier, name, tmp_path):
    task = segmenter if name == "ImageSegmenter" else classifier
    task.save_to_preset(tmp_path / "preset")
    assert json.loads((tmp_path / "preset" / "metadata.json").read_text())["tasks"] == [name]
    # As a user of keras-hub alone loads it.
    loaded = getattr(keras_hub.models, name).from_preset(str(tmp_path / "preset"))
    assert type(loaded) is type(task)


def test_without_a_preprocessor(segmenter, classifier):
    bare = kem.models.ESPMedSAMImageSegmenter(segmenter.backbone)
    with pytest.raises(InputError, match=r"segmenter has no preprocessor, which segment\(\) needs"):
        bare.segment(np.zeros((8, 8), "uint8"), "eye")
    bare = kem.models.TiCImageClassifier(classifier.backbone, num_classes=2)
    with pytest.raises(InputError, match="TiCImageClassifierPreprocessor"):
        bare.classify(np.zeros((8, 8), "uint8"))
    assert bare.intensity == "auto"


@pytest.mark.parametrize("preprocessor", ["x", [1], True, keras_hub.models.Preprocessor()], ids=str)
def test_what_is_no_preprocessor(segmenter, classifier, preprocessor):
    """As a damaged preset may hold."""
    for task in (segmenter, classifier):
        name = type(task).__name__
        with pytest.raises(InputError, match=rf"{name} received preprocessor=.*{name}Preproc"):
            tasks.checked_preprocessor(type(task), preprocessor)
    with pytest.raises(InputError, match="TiCImageClassifier received preprocessor="):
        kem.models.TiCImageClassifier(classifier.backbone, 2, preprocessor)
    with pytest.raises(InputError, match="ESPMedSAMImageSegmenter received preprocessor="):
        kem.models.ESPMedSAMImageSegmenter(segmenter.backbone, preprocessor)


def test_export_for_hands_all_on(segmenter, classifier, monkeypatch):
    calls = []
    monkeypatch.setattr(tasks, "upward", lambda name: lambda *a, **k: calls.append((name, a, k)))
    segmenter.export_for("onnx", "eye.onnx", (64, 64), modality="eye", overwrite=True)
    classifier.export_for("tflite", "c.tflite")
    classifier.export_for("onnx", "c.onnx", None, "float16")  # In the places of version 0.1.0.
    wanted = {"modality": "eye", "overwrite": True}
    assert calls == [
        ("export_model", (segmenter, "onnx", "eye.onnx", (64, 64)), wanted),
        ("export_model", (classifier, "tflite", "c.tflite", None), {}),
        ("export_model", (classifier, "onnx", "c.onnx", None, None, "float16"), {}),
    ]


def test_every_name_that_is_asked_for_upward_is_there():
    for name in _upward._PLACES:
        assert callable(_upward.upward(name))


def test_threads_take_turns(segmenter):
    images = np.zeros((1, 64, 64, 3), "float32")
    expected = segmenter.predict_probabilities(images, np.array([1], "int32"))
    found = [None] * 4

    def work(i):
        found[i] = segmenter.predict_probabilities(images, np.array([1], "int32"))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for values in found:
        np.testing.assert_allclose(values, expected, atol=1e-6)


# === Files ===


def test_threads_share_a_segmenter_and_change_no_warnings(segmenter, files):
    filters = list(warnings.filters)
    expected = [one.mask for one in segment_files(segmenter, files, "eye") if not one.error]
    found = {}

    def work(i):
        results = segment_files(segmenter, files, "eye")
        found[i] = [one.mask for one in results if not one.error]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(3):
        assert all((a == b).all() for a, b in zip(found[i], expected, strict=True))
    assert warnings.filters == filters
    with pytest.warns(InputWarning, match="nearly the same brightness"):
        segmenter.segment(np.zeros((8, 8), "uint8"), "eye")


def test_files_give_what_segment_gives(segmenter, files):
    given = [files / name for name in ("a.png", "b.png", "c.tif", "d.jpg", "e.png")]
    modalities = ["skin", "lung", "eye", "skin", "eye"]
    results = list(segment_files(segmenter, given, modalities, threshold=0.4, batch_size=2))
    assert [(one.path.name, one.index, one.error is None) for one in results] == [
        ("a.png", 0, True), ("b.png", 0, True), ("c.tif", 0, True), ("c.tif", 1, True),
        ("c.tif", 2, True), ("d.jpg", 0, True), ("e.png", 0, False),
    ]  # fmt: skip
    for result in results[:-1]:
        alone = segmenter.segment(result.image.array, result.modality, threshold=0.4)
        np.testing.assert_allclose(result.probabilities, alone["probabilities"], atol=1e-5)
        near = np.abs(alone["probabilities"] - 0.4) < 1e-5
        assert ((result.mask == alone["masks"]) | near).all()
        assert result.modality == dict(zip(given, modalities, strict=True))[result.path]


def test_modalities_are_recognised_by_a_real_classifier(segmenter, classifier, files):
    results = list(segment_files(segmenter, files / "a.png", recognizer=classifier))
    found = classifier.classify(results[0].image.array)
    assert results[0].modality == found["class_names"]
    assert results[0].confidence == pytest.approx(found["confidences"], abs=1e-6)


def test_a_task_of_one_modality_and_one_by_name(segmenter, files, tmp_path):
    segmenter.save_to_preset(tmp_path / "preset")
    eye = segmenter.specialize("eye")
    (expected,) = segment_files(segmenter, files / "b.png", "eye")
    for one, modality in ((eye, None), (eye, "eye"), (tmp_path / "preset", "eye")):
        (result,) = segment_files(one, files / "b.png", modality)
        np.testing.assert_allclose(result.probabilities, expected.probabilities, atol=1e-5)
        assert result.modality == "eye"


def test_closed_early(segmenter, files):
    with contextlib.closing(segment_files(segmenter, files, "eye", batch_size=1)) as results:
        assert next(results).path.name == "a.png"


def test_the_command_writes_the_same_masks(segmenter, files, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from keras_espmedsam.cli import segment
    from keras_espmedsam.cli.app import app

    monkeypatch.setattr(segment, "load_segmenter", lambda preset, *options: segmenter)
    monkeypatch.setattr(segment, "stored_targets", lambda preset: None)
    monkeypatch.setattr(segment, "prepare_for", lambda *arguments: None)
    done = CliRunner().invoke(
        app, ["segment", str(files), "--modality", "eye", "--output", str(tmp_path / "masks")]
    )
    assert done.exit_code == 1, done.output  # e.png is damaged.
    paths = sorted(files.iterdir())
    writer = ResultWriter(tmp_path / "own", paths)
    for result in segment_files(segmenter, paths, "eye"):
        writer.write(result)
    written = sorted((tmp_path / "own").iterdir())
    assert len(written) == 6
    for path in written:
        assert path.read_bytes() == (tmp_path / "masks" / path.name).read_bytes()
