import numpy as np

from keras_espmedsam.layers import FeatureNeck


def _finish(x, layer, ref):
    x = ref.conv(ref.layer_norm(x, layer.norm_1, 1e-6), ref.array(layer.conv.kernel), padding=1)
    return ref.layer_norm(x, layer.norm_2, 1e-6)


def test_one_map_is_sams_neck(run, draw, ref, randomize):
    x = draw(2, 3, 4, 6)
    layer = FeatureNeck(5, strides=[16], output_stride=16)
    layer.build([x.shape])
    randomize(layer)
    lateral = x @ ref.array(layer.laterals[0].kernel)[0, 0]
    np.testing.assert_allclose(run(layer, [x]), _finish(lateral, layer, ref), atol=5e-5)


def test_several_maps_are_brought_to_one_size_and_added(run, draw, ref, randomize):
    maps = [draw(2, 8, 4, 3), draw(2, 4, 2, 6), draw(2, 2, 1, 4)]
    layer = FeatureNeck(5, strides=[4, 8, 16], output_stride=8)
    layer.build([x.shape for x in maps])
    randomize(layer)
    fine, equal, coarse = (ref.array(lateral.kernel) for lateral in layer.laterals)
    assert fine.shape == (2, 2, 3, 5)
    merged = ref.conv(maps[0], fine, strides=2)
    merged = merged + ref.conv(maps[1], equal)
    merged = merged + ref.bilinear(ref.conv(maps[2], coarse), 2)
    out = run(layer, maps)
    assert out.shape == tuple(layer.compute_output_shape([x.shape for x in maps]))
    np.testing.assert_allclose(out, _finish(merged, layer, ref), atol=5e-5)
