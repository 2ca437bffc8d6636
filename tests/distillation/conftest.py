"""A tiny student, images on disk and their records, and teachers that cost nothing."""

import types

import keras
import numpy as np
import pytest
from PIL import Image

import keras_espmedsam as kem
from keras_espmedsam.data import Record
from keras_espmedsam.distillation import Teacher
from keras_espmedsam.models import ESPMedSAMImageConverter

MODALITIES = ("xray", "fundus", "microscopy")


@pytest.fixture(scope="session")
def converter():
    return ESPMedSAMImageConverter(image_size=(32, 32))


@pytest.fixture
def write(tmp_path):
    """Write an image of random pixels and the mask of its left half, and give their record."""

    def write(name, modality="fundus", size=(32, 32), dataset="drive", seed=None, labelled=True):
        rng = np.random.default_rng(sum(name.encode()) if seed is None else seed)
        image, mask = tmp_path / f"{name}.png", tmp_path / f"{name}_mask.png"
        Image.fromarray(rng.integers(0, 256, (*size, 3), "uint8")).save(image)
        if not labelled:
            return Record("train", modality, dataset, image, None)
        left = np.zeros(size, "uint8")
        left[:, : size[1] // 2] = 255
        Image.fromarray(left).save(mask)
        return Record("train", modality, dataset, image, mask)

    return write


def _conv_teacher(seed=0, gain=1.0, name="conv_teacher", **options):
    """A teacher of one convolution, which is not equivariant."""
    image = keras.Input((None, None, 3))
    layer = keras.layers.Conv2D(4, 16, strides=16, name="conv")
    middle = layer(image)
    output = keras.layers.Conv2D(2, 1, name="head")(middle)
    model = keras.Model(image, output)
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(gain * rng.normal(0, 0.05, weight.shape))
    return Teacher(model, name=name, **options)


class _ScaledByModality(keras.Model):
    """Stands for an encoder with controllers: the pooled image times modality + 1."""

    num_modalities = 3

    def features(self, images, modalities, training=False):
        pooled = keras.ops.average_pool(images, 8, 8, data_format="channels_last")
        factor = keras.ops.cast(modalities + 1, "float32")
        return {"embedding": pooled * keras.ops.reshape(factor, (-1, 1, 1, 1))}


@pytest.fixture(scope="session")
def conv_teacher():
    """`conv_teacher(seed=0, gain=1.0, name=..., **options)` makes a teacher of one convolution."""
    return _conv_teacher


@pytest.fixture(scope="session")
def scaled_teacher():
    """A teacher of the domain: the pooled image times its modality's number + 1."""
    return Teacher(_ScaledByModality(), name="scaled")


# === A student and its teachers ===

NAMES = ("skin", "lung", "eye")
SIDE = 32


def _encoder(num_modalities=0, neck_dim=8):
    return kem.models.TinyViTBackbone(
        hidden_dims=(4, 8),
        depths=(1, 1),
        num_heads=(1,),
        window_sizes=(2,),
        strides=(4,),
        neck_dim=neck_dim,
        num_modalities=num_modalities,
        adapter_ratio=1,
    )


def _backbone(modalities=NAMES, neck_dim=8, encoder=None, **options):
    return kem.models.ESPMedSAMBackbone(
        encoder or _encoder(len(modalities), neck_dim),
        modalities=modalities,
        transformer_depth=1,
        transformer_num_heads=1,
        transformer_mlp_dim=8,
        **options,
    )


def _convolution(channels=8, side=SIDE, stride=16):
    image = keras.Input((side, side, 3))
    x = keras.layers.Conv2D(4, 4, strides=4, activation="relu", name="stem")(image)
    x = keras.layers.Conv2D(channels, stride // 4, strides=stride // 4, name="head")(x)
    return keras.Model(image, x)


def _randomize(model, seed=1):
    """Weights that are the same on every backend, and away from their tame initial values."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = rng.normal(scale=0.2, size=weight.shape)
        name = weight.path.rsplit("/", 1)[-1]
        if "variance" in name or "gamma" in name:
            value = 1 + np.abs(value)
        weight.assign(value.astype("float32"))
    return model


def _batch(*streams, modalities=(1, 1), seed=0):
    """`x` of a batch, and `y` for the joint phase."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(2, len(modalities), SIDE, SIDE, 3)).astype("float32")
    parts = {
        "common": {"images": images[0]},
        "domain": {"images": images[1], "modalities": np.array(modalities, "int32")},
    }
    masks = rng.integers(0, 2, size=(len(modalities), SIDE, SIDE, 1)).astype("float32")
    y = {"masks": masks, "patches": masks.max(axis=(1, 2), keepdims=True)}
    return {stream: parts[stream] for stream in streams}, y


def _values(variables):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


@pytest.fixture(scope="session")
def tiny():
    """The builders above, since test modules cannot import each other."""
    return types.SimpleNamespace(
        names=NAMES,
        encoder=_encoder,
        backbone=_backbone,
        student=lambda **options: kem.models.ESPMedSAMImageSegmenter(_backbone(**options)),
        convolution=_convolution,
        randomize=_randomize,
        batch=_batch,
        values=_values,
    )
