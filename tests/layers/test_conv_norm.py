import keras
import numpy as np
import pytest
from scipy.signal import correlate

from keras_espmedsam.layers import ConvNorm


@pytest.mark.parametrize(
    ("filters", "kernel_size", "strides", "activation", "size"),
    [
        (4, 3, 2, True, (6, 8)),
        (4, 3, 2, False, (5, 7)),
        (4, 1, 1, True, (6, 8)),
        (4, 5, 2, False, (6, 8)),
        (None, 3, 2, True, (6, 8)),
        (None, 3, 1, False, (6, 8)),
        # Smaller than the kernel, but not once padded.
        (4, 3, 2, False, (2, 1)),
        (None, 3, 2, False, (1, 2)),
    ],
)
def test_equals_numpy(filters, kernel_size, strides, activation, size, run, draw, ref, randomize):
    x = draw(2, *size, 3)
    layer = ConvNorm(filters, kernel_size, strides, activation)
    layer.build(x.shape)
    randomize(layer)
    out = run(layer, x)
    assert out.shape == tuple(layer.compute_output_shape(x.shape))
    np.testing.assert_allclose(out, ref.conv_norm(x, layer), atol=2e-5)


def test_stride_two_samples_the_places_that_pytorch_samples(run, draw):
    # A zero on each side, then every second place, counted from the top left: Keras' own "same"
    # would begin one pixel later.
    x = draw(1, 6, 8, 1)
    layer = ConvNorm(1, 3, strides=2)
    layer.build(x.shape)
    kernel = draw(3, 3)
    layer.conv.kernel.assign(kernel[..., None, None])
    everywhere = correlate(np.pad(x[0, ..., 0], 1), kernel, mode="valid")
    expected = everywhere[::2, ::2] / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(run(layer, x)[0, ..., 0], expected, atol=1e-5)


def test_training_uses_and_remembers_the_batch_statistics(draw, ref):
    x = draw(4, 5, 6, 3)
    layer = ConvNorm(2)
    out = ref.array(layer(x, training=True))
    y = x @ ref.array(layer.conv.kernel)[0, 0]
    mean, variance = y.mean((0, 1, 2)), y.var((0, 1, 2))
    np.testing.assert_allclose(out, (y - mean) / np.sqrt(variance + 1e-5), atol=2e-5)
    np.testing.assert_allclose(ref.array(layer.norm.moving_mean), 0.1 * mean, atol=1e-6)
    moved = 0.9 + 0.1 * variance
    np.testing.assert_allclose(ref.array(layer.norm.moving_variance), moved, atol=1e-3)


def test_no_bias_and_frozen_statistics_without_training(draw, ref):
    layer = ConvNorm(4, 3)
    layer(draw(2, 6, 8, 3))
    assert [v.name for v in layer.trainable_variables] == ["kernel", "gamma", "beta"]
    np.testing.assert_array_equal(ref.array(layer.norm.moving_mean), np.zeros(4))


def test_unknown_sizes_stay_unknown():
    spec = ConvNorm(4, 3, strides=2)(keras.Input((None, None, 3)))
    assert spec.shape == (None, None, None, 4)
