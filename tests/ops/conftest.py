"""The published unfold form of the operator in NumPy float64, and gradients on any backend."""

import keras
import numpy as np
import pytest


def _unfold(x, kernel_size, dilation_rate):
    """`(batch, height, width, channels)` to the window's values, one more axis, zeros outside."""
    radius = [size // 2 * rate for size, rate in zip(kernel_size, dilation_rate, strict=True)]
    padded = np.pad(x, [(0, 0), (radius[0],) * 2, (radius[1],) * 2, (0, 0)])
    height, width = x.shape[1:3]
    offsets = [
        (i * dilation_rate[0], j * dilation_rate[1])
        for i in range(kernel_size[0])
        for j in range(kernel_size[1])
    ]
    return np.stack([padded[:, i : i + height, j : j + width] for i, j in offsets], axis=3)


@pytest.fixture
def reference():
    """`reference(q, k, v, upstream, ...)`: output, gradients of q, k and v, log of denominator."""

    def compute(q, k, v, upstream, kernel_size, dilation_rate=(1, 1), heads=1, border="zero"):
        q, k, v, upstream = (x.astype("float64") for x in (q, k, v, upstream))
        shape = (*q.shape[:3], heads, q.shape[3] // heads)
        scale = shape[-1] ** -0.5
        keys, values = (
            _unfold(x, kernel_size, dilation_rate).reshape(*q.shape[:3], -1, *shape[3:])
            for x in (k, v)
        )
        logits = scale * np.einsum("bywhd,bywnhd->bywnh", q.reshape(shape), keys)
        if border == "mask":
            inside = _unfold(np.ones_like(q[..., :1]), kernel_size, dilation_rate)
            logits = np.where(inside > 0, logits, -np.inf)
        highest = logits.max(axis=3, keepdims=True)
        weights = np.exp(logits - highest)
        total = weights.sum(axis=3, keepdims=True)
        weights = weights / total
        out = np.einsum("bywnh,bywnhd->bywhd", weights, values)
        g = upstream.reshape(shape)
        to_weights = np.einsum("bywhd,bywnhd->bywnh", g, values)
        mean = (weights * to_weights).sum(axis=3, keepdims=True)
        to_logits = scale * weights * (to_weights - mean)
        to_q = np.einsum("bywnh,bywnhd->bywhd", to_logits, keys)
        to_keys = np.einsum("bywnh,bywhd->bywnhd", to_logits, q.reshape(shape))
        to_values = np.einsum("bywnh,bywhd->bywnhd", weights, g)
        to_k, to_v = (
            _fold(x.reshape(*q.shape[:3], -1, q.shape[3]), kernel_size, dilation_rate)
            for x in (to_keys, to_values)
        )
        log_total = (highest + np.log(total))[:, :, :, 0]
        return out.reshape(q.shape), (to_q.reshape(q.shape), to_k, to_v), log_total

    return compute


def _fold(windows, kernel_size, dilation_rate):
    """The transpose of `_unfold`: what a window's places are given is added where they lie."""
    batch, height, width, _, channels = windows.shape
    radius = [size // 2 * rate for size, rate in zip(kernel_size, dilation_rate, strict=True)]
    total = np.zeros((batch, height + 2 * radius[0], width + 2 * radius[1], channels))
    for n in range(windows.shape[3]):
        i, j = np.array(np.divmod(n, kernel_size[1])) * dilation_rate
        total[:, i : i + height, j : j + width] += windows[:, :, :, n]
    return total[:, radius[0] : radius[0] + height, radius[1] : radius[1] + width]


@pytest.fixture
def value_and_gradients():
    """`value_and_gradients(function, arrays, upstream)`: NumPy output and gradients."""

    def compute(function, arrays, upstream):
        backend = keras.backend.backend()
        if backend == "tensorflow":
            import tensorflow as tf

            tensors = [tf.constant(x) for x in arrays]
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                out = function(*tensors)
            gradients = tape.gradient(out, tensors, tf.cast(upstream, out.dtype))
        elif backend == "torch":
            import torch

            tensors = [torch.tensor(x, requires_grad=True) for x in arrays]
            out = function(*tensors)
            gradients = torch.autograd.grad(out, tensors, torch.tensor(upstream).to(out.dtype))
            out = out.detach()
        else:
            import jax

            @jax.jit
            def both(arrays, upstream):
                out, pull = jax.vjp(function, *arrays)
                return out, pull(upstream.astype(out.dtype))

            out, gradients = both(arrays, upstream)
        return tuple(keras.tree.map_structure(keras.ops.convert_to_numpy, (out, gradients)))

    return compute


@pytest.fixture
def run_op():
    """`run_op(function, *arrays, **options)`: NumPy outputs; compiled as one program on JAX."""

    def run(function, *arrays, **options):
        if keras.backend.backend() == "jax":
            import jax

            out = jax.jit(lambda *tensors: function(*tensors, **options))(*arrays)
        else:
            out = function(*(keras.ops.convert_to_tensor(x) for x in arrays), **options)
        return keras.tree.map_structure(keras.ops.convert_to_numpy, out)

    return run
