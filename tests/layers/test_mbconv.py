import numpy as np

from keras_espmedsam.layers import MBConv


def test_equals_numpy(run, draw, ref, randomize):
    x = draw(2, 6, 8, 3)
    layer = MBConv(expand_ratio=2)
    layer.build(x.shape)
    randomize(layer)
    assert layer.expand.conv.kernel.shape == (1, 1, 3, 6)
    y = ref.conv_norm(x, layer.expand)
    y = ref.conv_norm(y, layer.depthwise)
    y = ref.conv_norm(y, layer.project)
    np.testing.assert_allclose(run(layer, x), ref.gelu(x + y), atol=5e-5)


def test_activations_follow_all_convolutions_but_the_last():
    layer = MBConv()
    layer.build((None, 6, 8, 3))
    convolutions = (layer.expand, layer.depthwise, layer.project)
    assert [c.activation for c in convolutions] == [True, True, False]
