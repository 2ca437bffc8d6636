"""Running a layer cheaply, giving it telling weights, and NumPy forms of what layers do."""

import types

import keras
import numpy as np
import pytest
from scipy.special import erf


@pytest.fixture
def run():
    """`run(layer, *inputs)`: build, call, and give the outputs as NumPy arrays, or as tensors.

    On JAX the call is compiled as one program: run eagerly, every operation in it would be
    compiled by itself.
    """

    def call(layer, *inputs, as_numpy=True, **options):
        if not layer.built:
            first = inputs[0]
            layer.build([x.shape for x in first] if isinstance(first, list) else first.shape)
        if keras.backend.backend() == "jax":
            import jax

            def program(values, inputs):
                # Not `stateless_call`, which does not cast its inputs as calling a layer does.
                state = zip(layer.variables, values, strict=True)
                with keras.StatelessScope(state_mapping=list(state)):
                    return layer(*inputs, **options)

            outputs = jax.jit(program)([v.value for v in layer.variables], inputs)
        else:
            outputs = layer(*inputs, **options)
        if not as_numpy:
            return outputs
        return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)

    return call


@pytest.fixture
def randomize():
    """`randomize(layer)`: weights that hide nothing: no zero bias, no scale of one."""

    def fill(layer, seed=0):
        rng = np.random.default_rng(seed)
        # Not all variables: a seed's state is one too.
        for variable in layer.weights:
            values = rng.normal(0, 0.4, variable.shape)
            if variable.name in ("gamma", "norm_gamma"):
                values = 1 + values
            if variable.name == "moving_variance":
                values = 0.5 + np.abs(values)
            variable.assign(values.astype("float32"))
        return layer

    return fill


@pytest.fixture
def draw():
    """`draw(*shape)`: normal float32 numbers, the same for every test."""
    rng = np.random.default_rng(1)
    return lambda *shape: rng.normal(size=shape).astype("float32")


def _array(x):
    return keras.ops.convert_to_numpy(x)


def _layer_norm(x, layer, epsilon):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
    return x * _array(layer.gamma) + _array(layer.beta)


def _gelu(x):
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def _softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _dense(x, layer):
    return x @ _array(layer.kernel) + _array(layer.bias)


def _conv(x, kernel, strides=1, padding=0, depthwise=False):
    """Sum over the kernel's places of a shifted, strided image times that place's weights."""
    x = np.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    size = kernel.shape[0]
    height, width = ((s - size) // strides + 1 for s in x.shape[1:3])
    out = 0.0
    for dy in range(size):
        for dx in range(size):
            part = x[:, dy : dy + strides * height : strides, dx : dx + strides * width : strides]
            part = part[:, :height, :width]
            weights = kernel[dy, dx]
            out = out + (part * weights[:, 0] if depthwise else part @ weights)
    return out


def _conv_norm(x, layer):
    """A `ConvNorm` in inference, padded by half the kernel on each side."""
    kernel = _array(layer.conv.kernel)
    x = _conv(x, kernel, layer.strides, kernel.shape[0] // 2, depthwise=layer.filters is None)
    norm = layer.norm
    x = (x - _array(norm.moving_mean)) / np.sqrt(_array(norm.moving_variance) + 1e-5)
    x = x * _array(norm.gamma) + _array(norm.beta)
    return _gelu(x) if layer.activation else x


def _bilinear(x, factor):
    """Half-pixel centres, borders repeated, one axis after the other."""
    for axis in (1, 2):
        size = x.shape[axis]
        places = (np.arange(size * factor) + 0.5) / factor - 0.5
        x = np.apply_along_axis(lambda v, p=places, n=size: np.interp(p, np.arange(n), v), axis, x)
    return x


def _attention(q, k, v, layer):
    """A `DownsampledAttention`, head by head."""
    q, k, v = (_dense(x, d) for x, d in ((q, layer.query), (k, layer.key), (v, layer.value)))
    dim = q.shape[-1] // layer.num_heads
    out = np.empty_like(q)
    for head in range(layer.num_heads):
        part = slice(head * dim, (head + 1) * dim)
        logits = q[..., part] @ np.swapaxes(k[..., part], 1, 2) / np.sqrt(dim)
        out[..., part] = _softmax(logits) @ v[..., part]
    return _dense(out, layer.projection)


def _two_way_block(queries, keys, query_positions, key_positions, block):
    """SAM's two-way block: positions join queries and keys of an attention, never values."""
    if block.is_first:
        queries = _attention(queries, queries, queries, block.self_attention)
    else:
        q = queries + query_positions
        queries = queries + _attention(q, q, queries, block.self_attention)
    queries = _layer_norm(queries, block.norm_1, 1e-5)
    q, k = queries + query_positions, keys + key_positions
    queries = queries + _attention(q, k, keys, block.query_to_image)
    queries = _layer_norm(queries, block.norm_2, 1e-5)
    hidden = np.maximum(_dense(queries, block.mlp.dense_layers[0]), 0)
    queries = queries + _dense(hidden, block.mlp.dense_layers[1])
    queries = _layer_norm(queries, block.norm_3, 1e-5)
    q = queries + query_positions
    keys = keys + _attention(k, q, queries, block.image_to_query)
    return queries, _layer_norm(keys, block.norm_4, 1e-5)


def _two_way(queries, keys, key_positions, layer):
    positions = queries
    for block in layer.blocks:
        queries, keys = _two_way_block(queries, keys, positions, key_positions, block)
    q, k = queries + positions, keys + key_positions
    queries = queries + _attention(q, k, keys, layer.final_attention)
    return _layer_norm(queries, layer.final_norm, 1e-5), keys


@pytest.fixture
def ref():
    """NumPy forms of layers, written from the papers and reading only a layer's weights."""
    return types.SimpleNamespace(
        array=_array,
        layer_norm=_layer_norm,
        gelu=_gelu,
        softmax=_softmax,
        dense=_dense,
        conv=_conv,
        conv_norm=_conv_norm,
        bilinear=_bilinear,
        attention=_attention,
        two_way_block=_two_way_block,
        two_way=_two_way,
    )
