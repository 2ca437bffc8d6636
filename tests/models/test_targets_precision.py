"""Exclusive, nested and hidden targets in half precision: closed channels are minus infinity."""

import keras
import numpy as np
import pytest

import keras_espmedsam as kem

SIZE = (32, 32)
RNG = np.random.default_rng(0)
RAW = RNG.integers(0, 256, (4, *SIZE, 3), dtype="uint8")
MODALITIES = ["skin", "skin", "lung", "eye"]
POLICIES = ["mixed_float16", "mixed_bfloat16"]


@pytest.fixture(autouse=True)
def _untraced(build):
    with build.untraced():
        yield


@pytest.fixture(scope="module")
def saved(build, tmp_path_factory):
    """A preset, and what it gives in float32. `eye` has fewer channels than `skin`."""
    image = keras.Input((*SIZE, 3))
    encoder = keras.Model(image, keras.layers.Conv2D(16, 16, strides=16)(image))
    backbone = build.backbone(
        encoder,
        transformer_depth=1,
        targets={"skin": ("a", "v", "disc", "cup"), "lung": ("lungs", "heart"), "eye": "cells"},
        exclusive={"skin": [("a", "v")]},
        nested={"skin": {"cup": "disc"}},
        instances={"eye": {"cells": "core"}},
        target_adapters={"skin": {"cup": 2}},
    )
    folder = tmp_path_factory.mktemp("mixed") / "preset"
    with build.untraced():
        model = build.randomize(build.segmenter(backbone, image_size=SIZE))
        model.save_to_preset(folder)
        return folder, model.segment(list(RAW), MODALITIES, batch_size=4)


@pytest.fixture(scope="module", params=POLICIES)
def mixed(saved, request):
    return kem.models.ESPMedSAMImageSegmenter.from_preset(saved[0], dtype=request.param)


@pytest.mark.slow_on("jax")
def test_masks_are_close_to_those_in_float32(mixed, saved):
    _, expected = saved
    found = mixed.segment(list(RAW), MODALITIES, batch_size=4)
    policy = mixed.backbone.dtype_policy.name
    tolerance = {"mixed_float16": 5e-3, "mixed_bfloat16": 0.03}[policy]
    for one, other in zip(found["probabilities"], expected["probabilities"], strict=True):
        difference = np.abs(one - other)
        assert 0 < difference.max() < tolerance
    for one, other in zip(found["masks"], expected["masks"], strict=True):
        assert (one == other).mean() > 0.98
    a, v, disc, cup = np.moveaxis(found["masks"][0], -1, 0)
    assert not (a & v).any() and not (cup & ~disc).any() and cup.any()
    objects = found["instances"][3]["cells"]
    np.testing.assert_array_equal(objects > 0, found["masks"][3])


@pytest.mark.slow_on("jax")
def test_a_step_trains_what_is_labelled_and_all_stays_finite(mixed):
    mixed.compile(keras.optimizers.Adam(1e-3))
    truth = np.zeros((4, *SIZE, 4), "uint8")
    truth[:, 4:12, 4:12, 0] = truth[:, 16:30, 16:30, 1] = 1
    truth[0, 8:20, 8:20, 2] = truth[0, 10:16, 10:16, 3] = 1
    # The second image lacks one of the group, the last one its hidden map.
    labelled = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]], bool)
    before = {v.path: np.array(keras.ops.convert_to_numpy(v)) for v in mixed.trainable_variables}
    x = {"images": RAW, "modalities": np.array([0, 0, 1, 2], "int32")}
    given = {"masks": truth, "labelled": labelled}
    history = mixed.fit(x, given, batch_size=4, verbose=0).history
    assert np.isfinite([values[0] for values in history.values()]).all(), history
    moved = set()
    for variable in mixed.trainable_variables:
        value = keras.ops.convert_to_numpy(variable)
        assert np.isfinite(value).all(), variable.path
        if not np.array_equal(value, before[variable.path]):
            moved.add((getattr(variable, "modality", None), getattr(variable, "target", None)))
    assert moved == {(None, None), (0, 1), (0, 2), (0, 3), (1, 1)}
