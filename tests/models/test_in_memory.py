"""Tensors of the backend's library as images: all its types, wherever and however they are held."""

import keras
import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.pixels import to_rgb

# Eighths, which every type but the smallest floats holds exactly.
UNIT = np.random.default_rng(0).integers(0, 9, (4, 6, 3)) / 8
BYTES = (UNIT * 255).round().astype("uint8")
# Two bits behind the point: what float8_e5m2 holds, too.
COARSE = np.array([[0, 0.25, 0.5, 0.75, 1]], "float32")
BACKEND = keras.backend.backend()


def tensor(array, dtype=None):
    return keras.ops.convert_to_tensor(array, dtype=dtype)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (lambda: tensor(UNIT, "float32"), UNIT),
        (lambda: tensor(UNIT, "bfloat16"), UNIT),
        (lambda: tensor(UNIT, "float16"), UNIT),
        (lambda: tensor(BYTES), BYTES / 255),
        (lambda: tensor(UNIT > 0.5), UNIT > 0.5),
        (lambda: keras.Variable(UNIT, dtype="float32"), UNIT),
        (lambda: keras.Variable(UNIT, dtype="bfloat16", trainable=False), UNIT),
        (lambda: keras.ops.transpose(tensor(UNIT.swapaxes(0, 1)), (1, 0, 2)), UNIT),
        (lambda: tensor(UNIT, "float32")[::1, ::2], UNIT[:, ::2]),
    ],
)
def test_tensors(image, expected):
    np.testing.assert_allclose(to_rgb(image()), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_floats_of_8_bits(name):
    if BACKEND == "torch":
        import torch

        image = torch.tensor(COARSE).to(getattr(torch, name))
    elif BACKEND == "jax":
        import jax.numpy as jnp

        image = jnp.asarray(COARSE).astype(name)
    else:
        import tensorflow as tf

        image = tf.cast(COARSE, getattr(tf.dtypes.experimental, name))
    np.testing.assert_array_equal(to_rgb(image)[..., 0], COARSE)


def test_a_symbolic_tensor():
    with pytest.raises(InputError, match=r"type keras.KerasTensor that is not an array of numbers"):
        to_rgb(keras.KerasTensor((4, 6, 3)))


def test_integers_whose_range_says_nothing():
    with pytest.raises(InputError, match=r"dtype int(32|64); expected uint8, uint16"):
        to_rgb(tensor(BYTES.astype("int32")))
    shown = to_rgb(tensor(BYTES.astype("int32")), intensity=(0, 255))
    np.testing.assert_allclose(shown, BYTES / 255, atol=1e-6)


@pytest.mark.skipif(BACKEND != "torch", reason="what PyTorch alone has")
def test_pytorch():
    import torch

    unit = torch.tensor(UNIT, dtype=torch.float32)
    for image in (
        unit.clone().requires_grad_(),
        unit.clone().requires_grad_() * 1,
        torch.nn.Parameter(unit),
        torch.complex(unit, unit).conj().real,
        torch.complex(unit, -unit).conj().imag,  # a view that is negative without computing it
        unit.permute(2, 0, 1).contiguous().permute(1, 2, 0),
        unit.as_subclass(type("Subclass", (torch.Tensor,), {})),
    ):
        np.testing.assert_allclose(to_rgb(image), UNIT, atol=1e-6)
    # Keras makes int32 of it.
    deep = torch.from_numpy(BYTES.astype("uint16") * 257)
    np.testing.assert_allclose(to_rgb(deep), BYTES / 255, atol=1e-6)
    for image in (unit.to("meta"), unit[..., 0].to_sparse(), unit[..., 0].to_sparse_csr()):
        with pytest.raises(InputError, match=r"type torch.Tensor that is not an array of numbers"):
            to_rgb(image)
    with pytest.raises(InputError, match=r"channels in front; .*image.permute\(1, 2, 0\)"):
        to_rgb(unit.permute(2, 0, 1))
    with pytest.raises(InputError, match="dtype complex64"):
        to_rgb(torch.complex(unit, unit).conj())


@pytest.mark.skipif(BACKEND != "tensorflow", reason="what TensorFlow alone has")
def test_tensorflow():
    import tensorflow as tf

    unit = tf.constant(UNIT, tf.float32)
    for image in (unit, tf.Variable(unit), tf.Variable(tf.cast(unit, tf.bfloat16)), list(unit)):
        np.testing.assert_allclose(to_rgb(image), UNIT, atol=1e-6)
    for image in (
        tf.ragged.constant([[1.0, 2.0], [3.0]]),
        tf.sparse.from_dense(unit[..., 0]),
        tf.IndexedSlices(unit, tf.range(4)),
    ):
        with pytest.raises(InputError, match=r"type tensorflow.* that is not an array of numbers"):
            to_rgb(image)


@pytest.mark.skipif(BACKEND != "jax", reason="what JAX alone has")
def test_jax():
    import jax

    @jax.jit
    def traced(image):
        to_rgb(image)
        return image

    with pytest.raises(InputError, match=r"type jax.*Tracer that is not an array of numbers"):
        traced(jax.numpy.asarray(UNIT))
    deleted = jax.numpy.asarray(UNIT)
    deleted.delete()
    with pytest.raises(InputError, match=r"type jaxlib.* that is not an array of numbers"):
        to_rgb(deleted)
