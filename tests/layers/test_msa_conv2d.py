import importlib.util
import json

import keras
import numpy as np
import pytest

from keras_espmedsam.layers import MSAConv2D
from keras_espmedsam.ops import msa_conv2d, pooled_window_attention

RELEASED = ["k3", "k5_d2", "k7_s2", "k3x5", "k3_d3_s2"]


def _recipe(shared_dir):
    spec = importlib.util.spec_from_file_location("recipe", shared_dir / "oracle" / "recipe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", RELEASED)
def test_reproduces_the_released_layer(name, shared_dir, run):
    case = json.loads((shared_dir / "oracle" / "msa_conv.json").read_text())[name]
    recipe = _recipe(shared_dir)
    state = {
        key: recipe.array(f"{name}.{key}", tuple(shape), 1) for key, shape in case["state"].items()
    }
    x = recipe._rng(1, f"{name}.x").standard_normal(case["input"]).astype("float32")
    x = x.transpose(0, 2, 3, 1)
    layer = MSAConv2D(
        case["out_channels"],
        case["kernel_size"],
        case["stride"],
        padding=case["padding"],
        dilation_rate=case["dilation"],
    )
    layer.build(x.shape)
    layer.qkv.kernel.assign(state["qkv_conv.weight"][:, :, 0, 0].T)
    layer.qkv.bias.assign(state["qkv_conv.bias"])
    layer.conv.kernel.assign(state["mlp.weight"].transpose(2, 3, 1, 0))
    layer.conv.bias.assign(state["mlp.bias"])
    with np.load(shared_dir / "oracle" / "msa_conv.npz") as published:
        expected = published[name].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(run(layer, x), expected, atol=1e-5)
    assert layer.compute_output_shape(x.shape) == expected.shape


def test_any_size_with_the_same_weights(run, draw, randomize):
    """The inside of a large image is what its part alone gives, away from the part's border."""
    layer = MSAConv2D(6, 3, num_heads=2)
    layer.build((None, None, None, 4))
    randomize(layer)
    x = draw(1, 20, 13, 4)
    part = run(layer, x[:, 4:16, 2:11])
    np.testing.assert_allclose(part[:, 2:-2, 2:-2], run(layer, x)[:, 6:14, 4:9], atol=1e-5)
    assert run(layer, x[:, :1, :1]).shape == (1, 1, 1, 6)


def test_depthwise_has_a_map_per_channel(run, draw, randomize):
    x = draw(1, 5, 6, 4)
    layer = randomize(_built(MSAConv2D(3, 3, depthwise=True), x))
    twin = _built(MSAConv2D(3, 3, num_heads=4), x)
    twin.set_weights(layer.get_weights())
    np.testing.assert_allclose(run(layer, x), run(twin, x), atol=1e-6)


def _built(layer, x):
    layer.build(x.shape)
    return layer


def test_parts_of_a_transformer(run, draw, randomize, ref):
    """No residual, a 1 x 1 convolution; pooled keys and the own token join one softmax."""
    x, modalities = draw(2, 6, 7, 4), np.array([1, 0], "int32")
    layer = MSAConv2D(
        5, 3, num_heads=2, conv_kernel_size=1, residual=False, pool_size=2, num_modalities=2,
        activation=None,
    )  # fmt: skip
    randomize(_built(layer, x))
    q, k, v = np.split(ref.dense(x, layer.qkv), 3, axis=-1)
    tensors = [keras.ops.convert_to_tensor(a.astype("float32")) for a in (q, k, v)]
    parts = [
        msa_conv2d(*tensors, 3, num_heads=2, return_log_total=True),
        pooled_window_attention(*tensors, 2, (3, 3), 2),
    ]
    parts = [[ref.array(a) for a in part] for part in parts]
    token = np.stack([ref.array(layer.tokens[m]["token"]) for m in modalities])[:, None, None]
    bias = np.stack([ref.array(layer.tokens[m]["bias"]) for m in modalities])[:, None, None]
    logit = (q * token).reshape(2, 6, 7, 2, 2).sum(-1) * 2**-0.5 + bias
    parts.append([np.broadcast_to(token, q.shape), logit])
    shares = ref.softmax(np.stack([log for _, log in parts], axis=-1))
    attended = sum(np.repeat(shares[..., i], 2, axis=-1) * out for i, (out, _) in enumerate(parts))
    expected = attended @ ref.array(layer.conv.kernel)[0, 0] + ref.array(layer.conv.bias)
    np.testing.assert_allclose(run(layer, x, modalities), expected, atol=2e-5)


def test_dropout_only_in_training(run, draw, randomize):
    x = draw(1, 6, 6, 4)
    layer = randomize(_built(MSAConv2D(4, 3, attention_dropout=0.5), x))
    still = run(layer, x)
    np.testing.assert_array_equal(run(layer, x, training=False), still)
    assert np.abs(run(layer, x, training=True) - still).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(kernel_size=4), "kernel_size=4"),
        (dict(kernel_size=3, num_heads=3), "heads must divide"),
        (dict(kernel_size=3, num_heads=2, depthwise=True), "one head per channel"),
        (dict(kernel_size=3, padding="reflect"), "same, valid"),
        (dict(kernel_size=3, padding=-1), "padding=-1"),
        (dict(kernel_size=3, attention_dropout=1.0), "attention_dropout=1.0"),
        (dict(kernel_size=3, border="wrap"), "border='wrap'"),
    ],
)
def test_bad_arguments_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        MSAConv2D(8, **options).build((None, None, None, 8))
