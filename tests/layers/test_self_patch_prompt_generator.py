import keras
import numpy as np
import pytest

from keras_espmedsam.layers import SelfPatchPromptGenerator


@pytest.fixture(params=[2, 4])
def layer(request, randomize):
    layer = SelfPatchPromptGenerator(patch_ratio=request.param)
    layer.build((None, 4, 8, 16))
    # A seed with which some patches are foreground and some are not.
    return randomize(layer, seed=2)


def test_equals_numpy(layer, run, draw, ref):
    x = draw(2, 4, 8, 16)
    ratio = layer.patch_ratio
    patches = ref.conv(x, ref.array(layer.patch_conv.kernel), strides=ratio)
    patches = patches + ref.array(layer.patch_conv.bias)
    patches = ref.gelu(ref.layer_norm(patches, layer.patch_norm, 1e-6))
    patches = patches @ ref.array(layer.patch_logits.kernel)[0, 0]
    patches = patches + ref.array(layer.patch_logits.bias)
    # The cut is tested where it cannot hang on rounding, and on both of its sides.
    assert np.abs(patches).min() > 1e-4
    assert {True, False} == set((patches >= 0).ravel())
    prompt = np.kron(1 / (1 + np.exp(-patches)) >= 0.5, np.ones((1, ratio, ratio, 1)))
    prompt = prompt @ ref.array(layer.prompt_conv.kernel)[0, 0] + ref.array(layer.prompt_conv.bias)
    prompt = ref.gelu(ref.layer_norm(prompt, layer.prompt_norm, 1e-6))

    out = run(layer, x)
    assert out["patches"].shape == (2, 4 // ratio, 8 // ratio, 1)
    np.testing.assert_allclose(out["patches"], patches, atol=2e-5)
    np.testing.assert_allclose(out["dense_prompt"], prompt, atol=2e-5)


def test_the_prompt_passes_no_gradient(layer, draw, input_gradient):
    x, direction = draw(2, 4, 8, 16), draw(2, 4, 8, 16)
    through_prompt = input_gradient(
        lambda x: keras.ops.sum(keras.ops.multiply(layer(x)["dense_prompt"], direction)), x
    )
    np.testing.assert_array_equal(through_prompt, np.zeros_like(x))
    through_patches = input_gradient(lambda x: keras.ops.sum(layer(x)["patches"]), x)
    assert np.abs(through_patches).max() > 1e-3


def test_a_logit_of_zero_is_foreground(run, draw, ref):
    # sigmoid(0) = 0.5, and the release cuts at >= 0.5.
    layer = SelfPatchPromptGenerator()
    layer.build((None, 4, 8, 16))
    layer.patch_logits.kernel.assign(np.zeros((1, 1, 4, 1)))
    x = draw(2, 4, 8, 16)
    at_zero = run(layer, x)["dense_prompt"]
    layer.patch_logits.bias.assign([5.0])
    np.testing.assert_array_equal(at_zero, run(layer, x)["dense_prompt"])
    layer.patch_logits.bias.assign([-5.0])
    assert np.abs(at_zero - run(layer, x)["dense_prompt"]).max() > 0.1
