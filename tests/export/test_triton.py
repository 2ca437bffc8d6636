"""A model for Triton: its folder, its file in ONNX Runtime, and what is refused."""

import hashlib
import json

import keras
import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from keras_espmedsam.errors import InputError
from keras_espmedsam.export import export_triton, get_format
from keras_espmedsam.export.comparison import made_image
from keras_espmedsam.export.description import describe
from keras_espmedsam.export.formats.onnx_operators import check_onnx
from keras_espmedsam.export.request import make_request
from keras_espmedsam.export.triton import compare_images
from tests.export.test_image_graph import core
from tests.small_segmenter import small_segmenter


@pytest.fixture
def from_core(monkeypatch):
    """Puts a model of two operators in the place of the network that `export_model` writes."""

    def export_model(task, format, path, **options):
        request = make_request(task, format, path, flavor="logits")
        onnx.save(core(task.target_set.num_channels, task.takes_modalities), str(path))
        return describe(task, request, options["preset"], options["licence"])

    monkeypatch.setattr("keras_espmedsam.export.triton.export_model", export_model)


def test_the_folder_is_a_model_of_triton(with_targets, from_core, tmp_path):
    options = {"preset": "presets/my eyes@2", "licence": "test"}
    done = export_triton(with_targets, tmp_path, **options)
    folder = tmp_path / "my_eyes"
    assert list(tmp_path.iterdir()) == [folder] and done["path"] == str(folder)
    model = folder / "1" / "model.onnx"
    files = {one for one in folder.rglob("*") if one.is_file()}
    assert files == {folder / "config.pbtxt", folder / "espmedsam.json", model}
    beside = json.loads((folder / "espmedsam.json").read_text())
    assert beside == {key: value for key, value in done.items() if key != "path"}
    content = model.read_bytes()
    assert beside["sha256"] == {"1/model.onnx": hashlib.sha256(content).hexdigest()}
    assert "not run on Triton" in beside["difference"]["checked_in"]
    assert beside["image_sizes"] == {name: [64, 64] for name in ("eye", "skin", "slide")}
    check_onnx(model)  # Standard operators alone.

    config = (folder / "config.pbtxt").read_text()
    config = text_format.Parse(config, model_config_pb2.ModelConfig())
    session = get_format("onnx").load(model).session
    for tensors, own in (
        (config.input, session.get_inputs()),
        (config.output, session.get_outputs()),
    ):
        assert [one.name for one in tensors] == [one.name for one in own]
        dims = [[side if isinstance(side, int) else -1 for side in one.shape] for one in own]
        assert [list(one.dims) for one in tensors] == dims

    with pytest.raises(InputError, match="already exists"):
        export_triton(with_targets, tmp_path, **options)
    assert model.read_bytes() == content
    done = export_triton(with_targets, tmp_path, overwrite=True, preset="my_eyes", licence="new")
    assert json.loads((folder / "espmedsam.json").read_text())["licence"] == "new"
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="From another backend a TensorFlow process writes it, as test_every_format.py shows.",
)
def test_its_masks_are_those_of_the_keras_model(tmp_path):
    segmenter = small_segmenter(("eye",))
    done = export_triton(segmenter, tmp_path, "eye")
    runtime = get_format("onnx").load(tmp_path / "eye" / "1" / "model.onnx")
    image = made_image(np.random.default_rng(7), (90, 140))
    found, expected = runtime({"image": image}), segmenter.segment(image, postprocess=False)
    assert found["masks"].shape == (90, 140) and done["difference"]["pixels"] <= 1e-3
    assert (found["masks"] != expected["masks"]).mean() <= 1e-3
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": "../eye"}, "letters, digits"),
        ({"precision": "int8"}, "float32 or float16"),
        ({"size": (64, 65)}, "multiples of 32"),
    ],
)
def test_refused(with_targets, tmp_path, options, says):
    with pytest.raises(InputError, match=says):
        export_triton(with_targets, tmp_path / "models", **options)
    assert not list(tmp_path.glob("models/*"))


def test_a_classifier_is_refused(classifier, tmp_path):
    with pytest.raises(InputError, match="A classifier has no masks"):
        export_triton(classifier, tmp_path)


class Half:
    """Takes the left half of an image, and `shift` columns more, for a target."""

    modalities = ("eye",)
    takes_modalities = False

    def __init__(self, shift=0):
        self.shift = shift

    def segment(self, image, *_, **__):
        probabilities = np.zeros(image.shape[:2], "float32")
        probabilities[:, : image.shape[1] // 2 + self.shift] = 0.75
        return {"masks": probabilities >= 0.5, "probabilities": probabilities}


def test_a_file_whose_masks_differ_is_refused():
    def runtime(inputs):
        return Half().segment(inputs["image"])

    assert compare_images(runtime, Half()) == (0, 0)
    with pytest.raises(InputError, match=r"0\.45% of an image's pixels"):  # One column of 220.
        compare_images(runtime, Half(1))
