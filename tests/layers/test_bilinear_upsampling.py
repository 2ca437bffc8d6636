import keras
import numpy as np
import pytest

from keras_espmedsam.layers import BilinearUpsampling


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8])
def test_equals_interpolation_at_half_pixel_centres(factor, run, draw, ref):
    x = draw(2, 3, 5, 2)
    np.testing.assert_allclose(
        run(BilinearUpsampling(factor), x), ref.bilinear(x, factor), atol=1e-5
    )


def test_equals_keras_resize(run, draw):
    x = draw(2, 3, 5, 2)
    resized = keras.ops.image.resize(x, (12, 20), interpolation="bilinear")
    ours = run(BilinearUpsampling(4), x)
    np.testing.assert_allclose(ours, keras.ops.convert_to_numpy(resized), atol=1e-5)


def test_a_single_pixel_is_repeated(run):
    x = np.array([3.5, -2.0], "float32").reshape(1, 1, 1, 2)
    np.testing.assert_array_equal(run(BilinearUpsampling(2), x), np.broadcast_to(x, (1, 2, 2, 2)))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow traces sizes")
def test_size_unknown_while_tracing(draw, ref):
    import tensorflow as tf

    layer = BilinearUpsampling(2)
    traced = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 2))])
    for shape in ((1, 3, 5, 2), (2, 4, 1, 2)):
        x = draw(*shape)
        np.testing.assert_allclose(traced(x).numpy(), ref.bilinear(x, 2), atol=1e-5)
