import keras
import numpy as np
import pytest

from keras_espmedsam.layers import InterPooling
from keras_espmedsam.ops import pooled_window_attention


def test_is_the_operator_with_its_configuration(draw):
    q, k, v = (keras.ops.convert_to_tensor(draw(1, 5, 6, 4)) for _ in range(3))
    layer = InterPooling(2, 3, num_heads=2, scale=0.3)
    found = layer(q, k, v)
    expected = pooled_window_attention(q, k, v, 2, (3, 3), 2, scale=0.3)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))
    assert layer.weights == []


def test_keys_alike_in_a_cell_are_the_keys_themselves(draw):
    """Pooling by 1 is the window attention with a masked border."""
    from keras_espmedsam.ops import msa_conv2d

    q, k, v = (keras.ops.convert_to_tensor(draw(1, 5, 6, 4)) for _ in range(3))
    out, _ = InterPooling(1, 3, num_heads=2)(q, k, v)
    expected = msa_conv2d(q, k, v, 3, num_heads=2, border="mask")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(out), keras.ops.convert_to_numpy(expected), atol=1e-6
    )


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="pool_size=0"):
        InterPooling(0, 3)
    with pytest.raises(ValueError, match="odd"):
        InterPooling(2, 4)
    with pytest.raises(ValueError, match="heads must divide"):
        InterPooling(2, 3, num_heads=3).build((None, 4, 4, 8))
