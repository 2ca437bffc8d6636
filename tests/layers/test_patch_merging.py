import numpy as np
import pytest

from keras_espmedsam.layers import PatchMerging


@pytest.mark.parametrize(("strides", "size"), [(2, (3, 4)), (1, (6, 8))])
def test_equals_numpy(strides, size, run, draw, ref, randomize):
    x = draw(2, 6, 8, 3)
    layer = PatchMerging(5, strides)
    layer.build(x.shape)
    randomize(layer)
    expected = x
    for conv in (layer.conv_1, layer.conv_2, layer.conv_3):
        expected = ref.conv_norm(expected, conv)
    out = run(layer, x)
    assert out.shape == (2, *size, 5) == tuple(layer.compute_output_shape(x.shape))
    np.testing.assert_allclose(out, expected, atol=5e-5)
    convolutions = (layer.conv_1, layer.conv_2, layer.conv_3)
    assert [c.activation for c in convolutions] == [True, True, False]
