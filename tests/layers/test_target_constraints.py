"""Exclusive, nested and unused channels of logits, against NumPy."""

import keras
import numpy as np

from keras_espmedsam.layers import TargetConstraints

GROUPS = ((0, 1, 1, 0, 0), (1, 1, 2, 2, 0), (0, 0, 0, 0, 0))
OUTER = ((-1, 0, -1, -1, 3), (-1, -1, -1, -1, 0), (-1, 2, 0, -1, -1))
COUNTS = (5, 5, 3)
MODALITIES = np.array([2, 0, 1, 0], "int32")


def expected(logits, modalities):
    logits = logits.astype("float64")
    found = logits.copy()
    for row, modality in enumerate(modalities):
        groups, outer = GROUPS[modality], OUTER[modality]
        for channel, group in enumerate(groups):
            if group:
                members = [c for c, g in enumerate(groups) if g == group]
                odds = np.exp(logits[row, ..., members])
                share = np.exp(logits[row, ..., channel]) / (1 + odds.sum(axis=0))
                found[row, ..., channel] = np.log(share / (1 - share))
        for channel in sorted(range(5), key=lambda c: depth(outer, c)):
            if outer[channel] >= 0:
                bound = found[row, ..., outer[channel]]
                found[row, ..., channel] = np.minimum(found[row, ..., channel], bound)
        found[row, ..., COUNTS[modality] :] = -np.inf
    return found


def depth(outer, channel):
    return 0 if outer[channel] < 0 else 1 + depth(outer, outer[channel])


def test_each_sample_gets_what_its_modality_declares(run):
    logits = np.random.default_rng(0).normal(scale=3, size=(4, 2, 3, 5)).astype("float32")
    layer = TargetConstraints(COUNTS, GROUPS, OUTER)
    found = run(layer, logits, MODALITIES)
    np.testing.assert_allclose(found, expected(logits, MODALITIES), rtol=1e-4, atol=1e-5)


def test_a_single_modality_needs_no_number(run):
    logits = np.random.default_rng(1).normal(scale=3, size=(2, 2, 3, 5)).astype("float32")
    layer = TargetConstraints(COUNTS[:1], GROUPS[:1], OUTER[:1])
    np.testing.assert_allclose(run(layer, logits), expected(logits, [0, 0]), rtol=1e-4, atol=1e-5)


def test_without_declarations_logits_stay_bit_for_bit(run):
    logits = np.random.default_rng(2).normal(size=(3, 2, 2, 2)).astype("float32")
    found = run(TargetConstraints((2, 1)), logits, np.array([0, 1, 0], "int32"))
    np.testing.assert_array_equal(found[..., 0], logits[..., 0])
    assert np.isneginf(found[1, ..., 1]).all()


def test_gradients_are_finite_and_never_reach_the_outer_target(input_gradient):
    logits = np.random.default_rng(3).normal(scale=30, size=(4, 2, 3, 5)).astype("float32")
    layer = TargetConstraints(COUNTS, (), OUTER)

    def inner_of_the_second(x):
        found = layer(x, MODALITIES)
        return keras.ops.sum(keras.ops.sigmoid(found[1:2, ..., 4]))

    gradient = input_gradient(inner_of_the_second, logits)
    assert np.isfinite(gradient).all()
    assert not gradient[..., :4].any() and not gradient[[0, 2, 3]].any()
    exclusive = TargetConstraints(COUNTS, GROUPS, ())
    gradient = input_gradient(
        lambda x: keras.ops.sum(keras.ops.sigmoid(exclusive(x, MODALITIES))), logits
    )
    assert np.isfinite(gradient).all()
    assert not gradient[0, ..., 3:].any()
