"""Blocks that compute their inside again in the backward pass: all but the memory is the same."""

import keras
import numpy as np
import pytest

from keras_espmedsam.layers import MBConv, TiCBlock, ViTMedBlock, WindowAttentionBlock

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 8, 8, 8)).astype("float32")


def build(kind):
    keras.utils.set_random_seed(0)
    images = keras.Input((8, 8, 8))
    if kind == "mbconv":
        block, inputs = MBConv(), images
        y = block(images)
    elif kind.startswith("tic"):
        # Attention with a gradient of its own, in tiles or, depthwise, in slices.
        heads = 1 if kind == "tic_tiles" else 8
        block, inputs = TiCBlock(num_heads=heads, kernel_size=3, pool_size=4), images
        y = block(images)
    elif kind == "vit_med":
        block, inputs = ViTMedBlock(num_heads=2, window_size=4, num_tokens=2), images
        y = block(images)
    else:
        # Mixed modalities, BatchNorm, and an argument that is no tensor.
        block = WindowAttentionBlock(num_heads=2, window_size=4, num_modalities=2, adapter_ratio=1)
        modalities = keras.Input((), dtype="int32")
        inputs = [images, modalities]
        y = block(images, modalities)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(y))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model, block


@pytest.mark.parametrize(
    "kind",
    [
        *("mbconv", "window", "vit_med", "tic_slices"),
        pytest.param("tic_tiles", marks=pytest.mark.slow_on("jax")),
    ],
)
def test_steps_change_the_same_weights_by_the_same(kind):
    weights = []
    for rematerialize in (False, True):
        model, block = build(kind)
        block.rematerialize = rematerialize
        x = [X, np.array([0, 1], "int32")] if kind == "window" else X
        for _ in range(2):
            model.train_on_batch(x, np.ones((2, 8), "float32"))
        weights.append(
            {w.path.split("/", 1)[1]: keras.ops.convert_to_numpy(w) for w in block.weights}
        )
    start = build(kind)[1].weights
    moved = [
        not np.array_equal(keras.ops.convert_to_numpy(old), new)
        for old, new in zip(start, weights[0].values(), strict=True)
    ]
    # BatchNorm's statistics too: an inside that assigned would move them twice.
    assert all(moved)
    for name, expected in weights[0].items():
        np.testing.assert_allclose(weights[1][name], expected, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="counts what PyTorch keeps")
def test_less_is_kept_for_the_backward_pass():
    import torch

    kept = {}
    for rematerialize in (False, True):
        _, block = build("vit_med")
        block.rematerialize = rematerialize
        own = {v.value.data_ptr() for v in block.weights}
        sizes = []

        def keep(tensor, own=own, sizes=sizes):
            if tensor.data_ptr() not in own:
                sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            block(torch.tensor(X))
        kept[rematerialize] = sum(sizes)
    assert kept[True] <= X.size < kept[False] / 5
