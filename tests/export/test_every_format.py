"""Every format that is listed: what it writes is the Keras model, in its own runtime."""

import functools
import hashlib
import json
import runpy
import shutil
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.export import ExportedSegmenter, comparison, get_format
from keras_espmedsam.export.formats import PRECISIONS, format_of
from keras_espmedsam.export.request import make_request
from keras_espmedsam.export.target_planes import draw_planes
from keras_espmedsam.registries import export_formats

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "exported"
# The page for browsers holds a model as ONNX, and is tested in test_web.py.
NAMES = [name for name in export_formats if name != "web"]
# From another backend each takes a TensorFlow process; one there shows that this works.
WRITTEN = NAMES if keras.backend.backend() == "tensorflow" else ["onnx"]


@pytest.fixture(scope="module", params=WRITTEN)
def artefact(request, segmenter, tmp_path_factory):
    """Path and description of an artefact for images of any size where that can be."""
    chosen = get_format(request.param)
    path = tmp_path_factory.mktemp(request.param) / f"model{chosen.suffix}"
    size = "any" if chosen.any_size else None
    return path, segmenter.export_for(request.param, path, size=size, licence="test")


@pytest.fixture(scope="module")
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
    assert (beside["licence"], beside["flavor"]) == ("test", "images")
    assert not list(path.parent.glob(".writing*"))


def test_its_files_are_those_that_are_listed(artefact):
    path, description = artefact
    files = get_format(description["format"]).files(path)
    assert files[0].exists() and set(description["sha256"]) == {
        file.relative_to(path.parent).as_posix() for file in files
    }
    for name, digest in description["sha256"].items():
        assert hashlib.sha256((path.parent / name).read_bytes()).hexdigest() == digest
    beside = {file.name for file in path.parent.iterdir()} - {path.name, f"{path.name}.json"}
    assert beside == {file.name for file in files if file.parent == path.parent} - {path.name}


def test_a_saved_model_holds_each_weight_once(artefact, segmenter):
    path, description = artefact
    if description["format"] != "saved_model":
        pytest.skip("Files of the other formats hold constants, which are their converters' own.")
    import tensorflow as tf

    stored = tf.train.list_variables(str(path / "variables" / "variables"))
    values = sum(int(np.prod(shape)) for _, shape in stored)
    assert values <= segmenter.count_params() + 1  # The last is the list of objects.


def test_its_format_is_known_by_its_path(artefact):
    path, description = artefact
    assert format_of(path).name == format_of(str(path)).name == description["format"]


def test_the_description_is_inside_too(artefact):
    path, description = artefact
    inside = _inside(path, description["format"])
    assert inside["modalities"] == ["skin", "lung", "eye"] and inside["licence"] == "test"


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


def test_what_is_there_is_replaced_when_asked_for_alone(artefact, segmenter, tmp_path, monkeypatch):
    path, description = artefact
    there = tmp_path / path.name

    def copy(task, request, target, *rest):
        for file in get_format(description["format"]).files(path):
            copied = target.parent / file.relative_to(path.parent)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copied)

    monkeypatch.setattr("keras_espmedsam.export._export_model._write", copy)
    options = {"size": "any" if get_format(description["format"]).any_size else None}
    for overwrite in (False, True):  # The second finds what the first has written.
        done = segmenter.export_for(description["format"], there, overwrite=overwrite, **options)
        assert done["sha256"] == description["sha256"] and done["licence"] == "unknown"
    names = {file.name for file in path.parent.iterdir()}
    assert {file.name for file in tmp_path.iterdir()} == names
    with pytest.raises(kem.errors.InputError, match="already"):
        segmenter.export_for(description["format"], there, **options)
    if there.is_file():
        there.unlink()
        with pytest.raises(kem.errors.InputError, match="already"):  # what lies beside it
            segmenter.export_for(description["format"], there, **options)


@pytest.fixture(scope="module")
def segmented(segmenter, image):
    """`segmented(native)`: what Keras gives for two images, at their own size or the model's."""

    @functools.cache
    def segment(native):
        model = _native(segmenter) if native else segmenter
        return model.segment([image, image[:50]], ["eye", "lung"])

    return segment


def test_exported_segmenter_segments_as_the_model(artefact, segmented, image):
    path, description = artefact
    found = ExportedSegmenter(path).segment([image, image[:50]], ["eye", "lung"], batch_size=2)
    expected = segmented(native=get_format(description["format"]).any_size)
    for one, other in zip(found["probabilities"], expected["probabilities"], strict=True):
        # Its images are rounded to eight bits after they are resized.
        assert np.abs(one - other).max() < 0.02
        assert one.shape == other.shape
    assert list(found["quality"][0]) == ["mask"] and found["quality"][1] == {}
    assert abs(found["quality"][0]["mask"] - expected["quality"][0]["mask"]) < 1e-3
    if "tells_scope" in description:
        assert description["tells_scope"] == ["eye"] and found["scope_score"][1] is None
        assert abs(found["scope_score"][0] - expected["scope_score"][0]) < 1e-3
        assert found["in_scope"] == expected["in_scope"]
    else:  # It was fitted at another size.
        assert get_format(description["format"]).any_size
        assert found["scope_score"] == [None, None]


def _native(segmenter):
    converter = kem.models.ESPMedSAMImageConverter()
    preprocessor = kem.models.ESPMedSAMImageSegmenterPreprocessor(converter)
    quality = segmenter.quality
    return kem.models.ESPMedSAMImageSegmenter(segmenter.backbone, preprocessor, quality=quality)


def test_a_description_of_version_0_1_0_is_read_as_it_was(artefact, image, tmp_path):
    path, description = artefact
    if description["format"] not in ("onnx", "tflite"):
        pytest.skip("It is read alike of every format; these two are loaded the fastest.")
    if path.is_dir():
        shutil.copytree(path, tmp_path / path.name)
    for file in path.parent.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    old = {**description, "flavor": "pictures"}
    (tmp_path / f"{path.name}.json").write_text(json.dumps(old))
    masks = [ExportedSegmenter(one).segment(image, "eye")["masks"] for one in (
        path, tmp_path / path.name)]  # fmt: skip
    np.testing.assert_array_equal(*masks)


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
    if get_format(description["format"]).any_size:  # It takes the image as it is.
        found = ExportedSegmenter(path).segment(image, "eye")["masks"]
        assert (mask == found).mean() > 0.999


@pytest.mark.skipif(
    WRITTEN != NAMES, reason="each would take a TensorFlow process; it is tested on TensorFlow"
)
@pytest.mark.parametrize("name", NAMES)
def test_several_targets(with_targets, tmp_path, name):
    chosen = get_format(name)
    path = tmp_path / f"m{chosen.suffix}"
    # Half the weights where that can be: minus infinity and the softmax have to pass there too.
    halves = "float16" if "float16" in chosen.precisions else "float32"
    done = with_targets.export_for(name, path, precision=halves)
    assert done["difference"] < (1e-4 if halves == "float32" else comparison.MEAN_TOLERANCE)
    exported = ExportedSegmenter(path)
    images = [comparison.made_image(np.random.default_rng(i), (64, 64)) for i in range(3)]
    names = list(with_targets.modalities)
    found, expected = (one.segment(images, names) for one in (exported, with_targets))
    assert found["targets"] == expected["targets"]
    for one, other in zip(found["probabilities"], expected["probabilities"], strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).mean() < (1e-4 if halves == "float32" else 0.01)
    inputs = {"images": np.stack(images[:1]), "modalities": np.array([0], "int32")}
    given = chosen.load(path)(inputs)
    drawn = draw_planes(np.asarray(given["probabilities"]), 0.5, with_targets.target_set, [0])
    for part in ("masks", "labels"):
        assert given[part].dtype == np.uint8
        assert (np.asarray(given[part]) != drawn[part]).mean() < 1e-3  # Rounded at the threshold.


HALVED = [name for name in NAMES if "float16" in get_format(name).precisions]


@pytest.mark.skipif(
    WRITTEN != NAMES, reason="each would take a TensorFlow process; it is tested on TensorFlow"
)
@pytest.mark.parametrize("name", HALVED)
def test_classifier_in_float16(classifier, tmp_path, name):
    path = tmp_path / f"m{get_format(name).suffix}"
    done = classifier.export_for(name, path, precision="float16", batch_size=2)
    assert done["class_names"] == ["eye", "lung"]
    assert done["difference"] < comparison.MEAN_TOLERANCE
    assert done["inputs"]["images"]["shape"] == [2, 64, 64, 3]
    found = get_format(name).load(path)({"images": np.zeros((2, 64, 64, 3), "uint8")})
    assert found["probabilities"].shape == (2, 2)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_format_cannot_do_is_refused_and_named(segmenter, tmp_path, name):
    chosen = get_format(name)
    path = tmp_path / f"m{chosen.suffix}"
    request = make_request(segmenter, name, path)
    assert (request.size, request.batch_size) == ((64, 64), None if chosen.open_batch else 1)
    for precision in PRECISIONS:
        if precision in chosen.precisions:
            assert make_request(segmenter, name, path, precision=precision).format.name == name
            continue
        with pytest.raises(kem.errors.InputError, match=rf"not in {precision}; choose .*onnx"):
            make_request(segmenter, name, path, precision=precision)
    if chosen.any_size:
        assert make_request(segmenter, name, path, "any").size is None
    else:
        with pytest.raises(kem.errors.InputError, match="choose saved_model, onnx"):
            make_request(segmenter, name, path, "any")
    with pytest.raises(kem.errors.InputError, match=r"its name must end in|which is a folder"):
        make_request(segmenter, name, tmp_path / ("m.onnx" if not chosen.suffix else "m.pb"))
    assert list(tmp_path.iterdir()) == []
