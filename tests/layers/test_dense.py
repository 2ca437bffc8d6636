"""Our dense layer is Keras' own in every way but one."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_espmedsam.layers.dense import Dense

X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")


def pair(**kwargs):
    """Keras' layer and ours with the same weights."""
    layers = [kind(5, **kwargs) for kind in (keras.layers.Dense, Dense)]
    for layer in layers:
        layer.build((None, 3, 4))
    rng = np.random.default_rng(1)
    for theirs, own in zip(*(layer.weights for layer in layers), strict=True):
        value = rng.normal(size=theirs.shape)
        theirs.assign(value)
        own.assign(value)
    return layers


def same(theirs, own, atol=1e-6):
    theirs, own = (ops.convert_to_numpy(ops.cast(layer(X), "float32")) for layer in (theirs, own))
    np.testing.assert_allclose(own, theirs, atol=atol, rtol=1e-6)


@pytest.mark.parametrize("kwargs", [{}, {"use_bias": False}, {"activation": "relu"}])
def test_gives_what_keras_gives(kwargs):
    same(*pair(**kwargs))


def test_in_half_precision():
    theirs, own = pair(dtype="mixed_bfloat16")
    assert keras.backend.standardize_dtype(own(X).dtype) == "bfloat16"
    same(theirs, own, atol=0.05)


def test_adapters_of_lora():
    layers = pair()
    for layer in layers:
        layer.enable_lora(2)
        layer.lora_kernel_a.assign(np.full((4, 2), 0.5))
        layer.lora_kernel_b.assign(np.full((2, 5), 0.25))
    same(*layers)


def test_quantized_to_int8():
    layers = pair()
    for layer in layers:
        layer.quantize("int8")
    assert layers[1].quantization_mode == "int8"
    same(*layers)


def test_no_place_to_work_on():
    own = pair()[1]
    assert own(np.zeros((0, 3, 4), "float32")).shape == (0, 3, 5)
