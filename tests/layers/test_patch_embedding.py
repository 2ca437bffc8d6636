import numpy as np

from keras_espmedsam.layers import ConvPatchEmbedding


def test_equals_numpy(run, draw, ref, randomize):
    x = draw(2, 8, 12, 3)
    layer = ConvPatchEmbedding(6)
    layer.build(x.shape)
    randomize(layer)
    assert layer.conv_1.conv.kernel.shape == (3, 3, 3, 3)
    expected = ref.conv_norm(ref.conv_norm(x, layer.conv_1), layer.conv_2)
    out = run(layer, x)
    assert out.shape == (2, 2, 3, 6) == tuple(layer.compute_output_shape(x.shape))
    np.testing.assert_allclose(out, expected, atol=5e-5)
    assert [layer.conv_1.activation, layer.conv_2.activation] == [True, False]
