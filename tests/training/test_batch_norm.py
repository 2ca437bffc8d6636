"""BatchNorm that keeps what it knows while all else is trained."""

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.models.model_layers import model_layers
from keras_espmedsam.training.batch_norm import freeze_batch_norm


# JAX compiles each of its operations apart.
@pytest.mark.slow_on("jax")
def test_statistics_scale_and_offset_stay():
    encoder = kem.models.TinyViTBackbone(
        hidden_dims=(8, 8, 16),
        depths=(1, 1, 1),
        num_heads=(1, 2),
        window_sizes=(4, 4),
        strides=(2, 2),
        neck_dim=16,
        num_modalities=3,
        adapter_ratio=1,
    )
    everything = {v.path for v in encoder.trainable_variables}
    norms = [
        layer
        for layer in model_layers(encoder)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert norms
    own = {weight.path for layer in norms for weight in layer.weights}
    freeze_batch_norm(encoder)
    assert {v.path for v in encoder.trainable_variables} == everything - own
    before = [keras.ops.convert_to_numpy(w).copy() for layer in norms for w in layer.weights]
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    encoder({"images": images, "modalities": np.array([1])}, training=True)
    after = [keras.ops.convert_to_numpy(w) for layer in norms for w in layer.weights]
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
