"""A map worked on band by band gives what it gives as a whole."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_espmedsam.layers import MBConv, WindowAttentionBlock
from keras_espmedsam.ops import bands

CUTS = keras.backend.backend() != "tensorflow"


@pytest.fixture
def small_bands(monkeypatch):
    """So small that every map has bands."""
    monkeypatch.setattr(bands, "BAND_BYTES", 600)


@pytest.fixture
def inference():
    """As Keras predicts: without a gradient."""
    if keras.backend.backend() == "torch":
        import torch

        with torch.no_grad():
            yield
    else:
        yield


def maps(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def sum_of_three_rows(x):
    """What a 3 x 3 convolution does along the rows, zeros beyond the map."""
    padded = ops.pad(x, [(0, 0), (1, 1), (0, 0), (0, 0)])
    return padded[:, :-2] + padded[:, 1:-1] + 2 * padded[:, 2:]


@pytest.mark.usefixtures("small_bands", "inference")
@pytest.mark.parametrize("height", [12, 13, 17])
def test_a_row_may_depend_on_its_neighbours(height):
    seen = []

    def function(x):
        seen.append(x.shape[1])
        return sum_of_three_rows(x)

    x = maps(2, height, 5, 4)
    y = bands.in_bands(function, ops.convert_to_tensor(x), channels=4, halo=1)
    padded = np.pad(x, [(0, 0), (1, 1), (0, 0), (0, 0)])
    expected = padded[:, :-2] + padded[:, 1:-1] + 2 * padded[:, 2:]
    np.testing.assert_array_equal(ops.convert_to_numpy(y), expected)
    assert (max(seen) < height) == CUTS


@pytest.mark.usefixtures("small_bands", "inference")
@pytest.mark.parametrize("units", [4, 5, 7])
def test_bands_are_of_whole_units(units):
    seen = []

    def function(x):
        seen.append(x.shape[1])
        return ops.concatenate([x, 2 * x], axis=-1)

    x = maps(1, 3 * units, 3, 2)
    y = bands.in_bands(function, ops.convert_to_tensor(x), channels=8, unit=3)
    np.testing.assert_array_equal(ops.convert_to_numpy(y), np.concatenate([x, 2 * x], axis=-1))
    assert all(rows % 3 == 0 for rows in seen)
    assert (max(seen) < 3 * units) == CUTS


@pytest.mark.usefixtures("inference")
def test_a_small_map_has_no_bands():
    x = ops.ones((1, 8, 8, 4))
    assert bands.in_bands(lambda rows: rows, x, channels=4) is x


@pytest.mark.usefixtures("small_bands", "inference")
def test_a_symbolic_map_is_whole():
    x = keras.KerasTensor((1, 16, 8, 4))
    seen = []
    bands.in_bands(lambda rows: seen.append(rows.shape[1]) or rows, x, channels=4)
    assert seen == [16]


def layer_and_input(kind, folded):
    from keras_espmedsam.layers.conv_norm import folded_norms

    keras.utils.set_random_seed(0)
    make = {
        "convolutions": lambda: MBConv(2),
        "attention": lambda: WindowAttentionBlock(2, 3, mlp_ratio=2, num_modalities=3),
    }[kind]
    if folded:
        with folded_norms():
            layer = make()
            layer.build((None, 14, 10, 8))
    else:
        layer = make()
        layer.build((None, 14, 10, 8))
    rng = np.random.default_rng(1)
    for variable in layer.weights:
        variable.assign(rng.uniform(0.1, 0.5, variable.shape))
    more = [] if kind == "convolutions" else [np.array([2, 0], "int32")]
    return layer, [ops.convert_to_tensor(value) for value in (maps(2, 14, 10, 8), *more)]


@pytest.mark.usefixtures("inference")
@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("kind", ["convolutions", "attention"])
def test_layers_give_the_same_in_bands(kind, folded, monkeypatch):
    layer, inputs = layer_and_input(kind, folded)
    whole = ops.convert_to_numpy(layer(*inputs, training=False))
    monkeypatch.setattr(bands, "BAND_BYTES", 2000)
    y = ops.convert_to_numpy(layer(*inputs, training=False))
    np.testing.assert_allclose(y, whole, atol=2e-6, rtol=2e-6)


@pytest.mark.usefixtures("small_bands")
@pytest.mark.parametrize("kind", ["convolutions", "attention"])
def test_training_sees_the_whole_map(kind, monkeypatch):
    layer, inputs = layer_and_input(kind, folded=False)
    monkeypatch.setattr(bands, "_pays", lambda x: pytest.fail("in bands"))
    layer(*inputs, training=True)


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="PyTorch alone says whether a gradient is asked for"
)
@pytest.mark.usefixtures("small_bands")
def test_a_gradient_sees_the_whole_map():
    x = ops.ones((1, 16, 8, 4))
    seen = []
    bands.in_bands(lambda rows: seen.append(rows.shape[1]) or rows, x, channels=4)
    assert seen == [16]
