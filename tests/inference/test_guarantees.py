"""Guarantees are checked, found by target, and their masks are changed by nothing else."""

import re
import types

import numpy as np
import pytest

from keras_espmedsam.data import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.placement import Placement
from keras_espmedsam.inference.chosen_targets import choose_targets
from keras_espmedsam.inference.guarantees import (
    check_guarantee,
    check_guaranteed,
    checked_guarantees,
    guaranteed_thresholds,
)
from keras_espmedsam.inference.image_segmentation import SegmentsImages
from keras_espmedsam.inference.segment_files import segment_files
from keras_espmedsam.inference.target_masks import ImageMaps

TARGETS = Targets({"eye": ("disc", "cup"), "lung": ("mask",)}, nested={"eye": {"cup": "disc"}})
RECALL = {"level": 0.9, "threshold": 0.25, "num_images": 20, "datasets": ["clinic"]}
DICE = {"level": 0.8, "threshold": 0.5, "num_images": 30, "datasets": [], "confidence": 0.9}
GIVEN = {"eye": {"disc": {"recall": RECALL, "dice": DICE}}, "lung": {"": {"recall": RECALL}}}


def test_it_is_plain_data():
    found = checked_guarantees(GIVEN, TARGETS)
    assert found == {
        "eye": {"disc": {"recall": RECALL, "dice": DICE}},
        "lung": {"mask": {"recall": RECALL}},
    }
    assert checked_guarantees(found, TARGETS) == found
    assert checked_guarantees(None, TARGETS) == {}


def _changed(**fields):
    return {"eye": {"disc": {"recall": {**RECALL, **fields}}}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ear": {}}, "'ear'"),
        ({"eye": {"disc": 1}}, "Received 1 as the guarantees of eye's disc; expected a dict"),
        ({"eye": {"disc": {"recalls": RECALL}}}, "did you mean recall?"),
        (
            {"eye": {"disc": {"recall": 0.9}}},
            "Received 0.9 as the guarantees of eye's disc, recall;",
        ),
        ({"eye": {"disc": {"recall": {"level": 0.9}}}}, "lack 'threshold'"),
        (_changed(levels=2), "have 'levels'"),
        (_changed(level=1.5), "level=1.5 in the guarantees of eye's disc, recall; expected"),
        (_changed(threshold=float("nan")), "threshold=nan"),
        (_changed(confidence="high"), "confidence='high'"),
        (_changed(num_images=0), "num_images=0"),
        (_changed(datasets="clinic"), "datasets='clinic'"),
    ],
)
def test_what_cannot_be_used_is_said(given, message):
    with pytest.raises(InputError, match=re.escape(message)):
        checked_guarantees(given, TARGETS)


def test_thresholds_are_found_or_their_lack_is_said():
    model = types.SimpleNamespace(
        guarantees=checked_guarantees(GIVEN, TARGETS),
        target_set=TARGETS,
        modalities=TARGETS.modalities,
    )
    assert guaranteed_thresholds(model, "recall", "eye", ["disc"]) == {"disc": 0.25}
    check_guaranteed(model, "recall", ["eye", "lung"], ("disc", "mask"))
    check_guaranteed(model, None, ["eye"], None)
    with pytest.raises(InputError, match="cup of eye; it has recall and dice for disc"):
        check_guaranteed(model, "recall", ["eye"], None)
    with pytest.raises(InputError, match=r"for disc of eye; it has none for this modality\. Choo"):
        guaranteed_thresholds(types.SimpleNamespace(), "dice", "eye", ["disc"])
    with pytest.raises(InputError, match=r"guarantee='recalls'; did you mean recall\?"):
        check_guarantee("recalls")
    with pytest.raises(InputError, match=r"guarantee with threshold 0\.3"):
        check_guarantee("recall", thresholds={"disc": 0.5, "cup": 0.3})
    check_guarantee("recall", thresholds={"disc": 0.5})


class Dark(SegmentsImages):
    modalities = TARGETS.modalities
    image_converter = None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guarantee": "recalls"}, "did you mean recall"),
        ({"guarantee": "recall", "mirror": True}, "guarantee with mirror=True"),
    ],
)
def test_what_contradicts_a_guarantee_is_said_before_any_image_is_read(options, message):
    with pytest.raises(InputError, match=message):
        segment_files(Dark(), [], "auto", **options)
    with pytest.raises(InputError, match=message):
        Dark().segment(np.zeros((4, 4), "uint8"), "auto", **options)


def _maps(values):
    values = np.array(values, "float32")
    place = Placement.of(values.shape[:2], image_size=values.shape[:2])
    return ImageMaps(choose_targets(TARGETS, "eye"), values, place)


def test_no_other_target_and_no_calibration_changes_a_guaranteed_mask():
    values = [[[0.6, 0.3], [0.2, 0.2]], [[0.4, 0.3], [0.9, 0.9]]]
    calibration = {"disc": {"temperature": 2.0}, "cup": {"temperature": 0.5}}
    thresholds = {"disc": 0.5, "cup": 0.25}
    masks, probabilities, _ = _maps(values).results(thresholds, {}, calibration, guaranteed=True)
    assert masks[..., 0].tolist() == [[True, False], [False, True]]
    assert masks[..., 1].tolist() == [[True, False], [True, True]]  # Leaves the disc.
    masks, same, _ = _maps(values).results(thresholds, {}, calibration)
    np.testing.assert_array_equal(probabilities, same)
    assert (masks[..., 1] <= masks[..., 0]).all()


def test_calibrated_probabilities_stay_nested_and_masks_at_one_half_stay():
    rng = np.random.default_rng(0)
    values = rng.random((8, 8, 2)).astype("float32")
    values[..., 1] = np.minimum(values[..., 0], values[..., 1])
    half = {"disc": 0.5, "cup": 0.5}
    before, plain, _ = _maps(values).results(half, {})
    calibration = {"disc": {"temperature": 3.0}, "cup": {"temperature": 0.5}}
    after, probabilities, _ = _maps(values).results(half, {}, calibration)
    np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(plain, values)
    assert (probabilities[..., 1] <= probabilities[..., 0]).all()
    p = values[..., 0].astype(float)
    expected = 1 / (1 + ((1 - p) / p) ** (1 / 3))
    np.testing.assert_allclose(probabilities[..., 0], expected, atol=1e-6)
