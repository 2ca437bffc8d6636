"""A tiny segmenter of three modalities, small enough for all backends."""

import contextlib
import types

import keras
import numpy as np
import pytest

import keras_espmedsam as kem

pytest.register_assert_rewrite("tests.models.image_encoder_contract")

NAMES = ("skin", "lung", "eye")


def make_encoder(**kwargs):
    config = dict(
        hidden_dims=(8, 8, 16, 16),
        depths=(1, 1, 1, 1),
        num_heads=(1, 2, 2),
        window_sizes=(4, 4, 4),
        neck_dim=16,
        num_modalities=3,
        adapter_ratio=1,
    )
    return kem.models.TinyViTBackbone(**{**config, **kwargs})


def make_backbone(encoder=None, **kwargs):
    config = dict(modalities=NAMES, transformer_num_heads=2, transformer_mlp_dim=16)
    return kem.models.ESPMedSAMBackbone(encoder or make_encoder(), **{**config, **kwargs})


def make_segmenter(backbone=None, image_size=(64, 64), **converter):
    models = kem.models
    preprocessor = models.ESPMedSAMImageSegmenterPreprocessor(
        models.ESPMedSAMImageConverter(image_size=image_size, **converter)
    )
    return models.ESPMedSAMImageSegmenter(backbone or make_backbone(), preprocessor)


def make_plain_segmenter():
    """One convolution as encoder: it compiles fast, for tests of what is fed to a model."""
    image = keras.Input((64, 64, 3))
    encoder = keras.Model(image, keras.layers.Conv2D(16, 16, strides=16)(image))
    return make_segmenter(make_backbone(encoder, transformer_depth=1))


def randomize(model, seed=1):
    """Weights away from their tame initial values, so that every part matters."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = rng.normal(scale=0.3, size=weight.shape)
        name = weight.path.rsplit("/", 1)[-1]
        if "variance" in name or "gamma" in name:
            value = 1 + np.abs(value)
        weight.assign(value.astype("float32"))
    return model


class Batches(keras.utils.PyDataset):
    """Two samples at a time."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return len(self.y) // 2

    def __getitem__(self, index):
        return rows_of(self.x, self.y, slice(2 * index, 2 * index + 2))


class Samples:
    """A map-style data set, for torch and grain."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.y)

    def __getitem__(self, index):
        return rows_of(self.x, self.y, index)


def rows_of(x, y, rows):
    x = {name: value[rows] for name, value in x.items()} if isinstance(x, dict) else x[rows]
    return x, y[rows]


def make_source(kind, x, y):
    """Samples in batches of two: "PyDataset", "tf.data", "grain" or "DataLoader"."""
    if kind == "PyDataset":
        return Batches(x, y)
    if kind == "tf.data":
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
    if kind == "grain":
        import grain

        return grain.MapDataset.source(Samples(x, y)).batch(2).to_iter_dataset()
    import torch

    assert kind == "DataLoader"
    return torch.utils.data.DataLoader(Samples(x, y), batch_size=2)


def array(x):
    return keras.ops.convert_to_numpy(x)


def run(model, inputs):
    """Call a model in the way that is quick on each backend; NumPy out.

    JAX compiles it, ten times faster than eagerly. TensorFlow runs it operation by operation,
    since a trace takes longer than the few calls that tests make of one. That its graph gives the
    same is tested once of each encoder, backbone and task; sizes are always known here.
    """
    with untraced():
        return keras.Model.predict_on_batch(model, inputs)


@contextlib.contextmanager
def untraced(eagerly=True):
    """TensorFlow runs operation by operation in it, or not; PyTorch and JAX run as ever."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(eagerly)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def compiled(function):
    """A function of tensors as one program on JAX, which else compiles every operation apart."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


@pytest.fixture(scope="session")
def build():
    """The builders above, since test modules cannot import each other."""
    return types.SimpleNamespace(
        names=NAMES,
        encoder=make_encoder,
        backbone=make_backbone,
        segmenter=make_segmenter,
        plain_segmenter=make_plain_segmenter,
        randomize=randomize,
        source=make_source,
        samples=Samples,
        array=array,
        run=run,
        untraced=untraced,
        compiled=compiled,
    )


@pytest.fixture(scope="session")
def segmenter():
    """One segmenter with random weights, shared by tests that do not change it."""
    return randomize(make_segmenter())
