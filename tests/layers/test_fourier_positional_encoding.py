import numpy as np

from keras_espmedsam.layers import FourierPositionalEncoding


def test_equals_numpy(run, draw, ref):
    x = draw(2, 3, 5, 4)
    layer = FourierPositionalEncoding(8)
    out = run(layer, x)
    matrix = ref.array(layer.matrix)
    assert out.shape == (1, 3, 5, 8)
    for row in range(3):
        for column in range(5):
            # SAM multiplies (x, y), in this order.
            place = np.array([(column + 0.5) / 5, (row + 0.5) / 3]) * 2 - 1
            phase = 2 * np.pi * place @ matrix
            expected = np.concatenate([np.sin(phase), np.cos(phase)])
            np.testing.assert_allclose(out[0, row, column], expected, atol=1e-5)


def test_the_matrix_is_saved_but_not_trained(ref):
    layer = FourierPositionalEncoding(64, scale=5.0)
    layer.build((1, 2, 2, 64))
    assert layer.trainable_variables == []
    assert len(layer.non_trainable_variables) == 1
    assert 3.5 < ref.array(layer.matrix).std() < 6.5


def test_float32_under_every_policy(run, draw, ref):
    x = draw(2, 3, 5, 4)
    half = FourierPositionalEncoding(8, dtype="mixed_bfloat16")
    out = run(half, x)
    assert out.dtype == np.float32
    full = FourierPositionalEncoding(8)
    full.build(x.shape)
    full.matrix.assign(ref.array(half.matrix))
    np.testing.assert_allclose(out, run(full, x), atol=1e-6)
