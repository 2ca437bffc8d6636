"""Pictures on disk, records of them, and teachers that cost nothing."""

import keras
import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import Record
from keras_espmedsam.distillation import Teacher
from keras_espmedsam.models import ESPMedSAMImageConverter

MODALITIES = ("xray", "fundus", "microscopy")


@pytest.fixture(scope="session")
def converter():
    return ESPMedSAMImageConverter(image_size=(32, 32))


@pytest.fixture
def write(tmp_path):
    """Write a picture of random pixels and the mask of its left half, and give their record."""

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
    """Stands for an encoder with controllers: the pooled picture times modality + 1."""

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
    """A teacher of the domain: the pooled picture times its modality's number + 1."""
    return Teacher(_ScaledByModality(), name="scaled")
