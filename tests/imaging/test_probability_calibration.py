"""Calibrated probabilities: by hand, in their old order, and with the same masks at 0.5."""

import re

import numpy as np
import pytest

from keras_espmedsam.data import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.probability_calibration import calibrated, checked_calibration

TARGETS = Targets({"xray": ("lungs", "heart"), "mri": ("mask",)})
# Around 0.5 as close as float32 has them, and at both ends.
NUMBERS = np.concatenate(
    [
        np.float32(0.5) + np.arange(-8, 9, dtype="float32") * np.float32(2**-25),
        np.linspace(0, 1, 1001, dtype="float32"),
    ]
)


def test_by_hand():
    # The logit of 0.9 is log 9; half of it is that of 3 / (3 + 1), and log 3 more that of 9 / 10.
    found = calibrated(np.array([0.9]), temperature=2)
    np.testing.assert_allclose(found, 3 / 4, rtol=1e-6)
    np.testing.assert_allclose(
        calibrated(np.array([0.9]), temperature=2, bias=np.log(3)), 9 / 10, rtol=1e-6
    )


def test_a_single_probability_has_no_shape():
    found = calibrated(np.float32(0.9), temperature=2)
    assert found.shape == () and found.dtype == np.float32
    np.testing.assert_allclose(found, 0.75, atol=1e-6)


def test_nothing_changes_by_default():
    assert calibrated(NUMBERS) is NUMBERS


@pytest.mark.parametrize("temperature", [0.3, 1.0001, 1.7, 50])
def test_masks_at_one_half_stay_to_the_bit(temperature):
    found = calibrated(NUMBERS, temperature)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found >= 0.5, NUMBERS >= 0.5)


@pytest.mark.parametrize(("temperature", "bias"), [(2, 0), (0.5, 0), (3, -2), (1, 1)])
def test_pixels_stay_in_order(temperature, bias):
    found = calibrated(np.sort(NUMBERS), temperature, bias)
    assert (np.diff(found) >= 0).all()
    assert 0 <= found.min() and found.max() <= 1


def test_it_is_plain_data_without_defaults():
    given = {
        "xray": {"lungs": {"temperature": np.float64(1.5), "bias": 0}, "heart": {"temperature": 1}},
        "mri": {"": {"bias": -0.5}},
    }
    found = checked_calibration(given, TARGETS)
    assert found == {"xray": {"lungs": {"temperature": 1.5}}, "mri": {"mask": {"bias": -0.5}}}
    assert type(found["xray"]["lungs"]["temperature"]) is float
    assert checked_calibration(found, TARGETS) == found
    assert checked_calibration(None, TARGETS) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (1.5, "Received 1.5 as the probability_calibration; expected a dict with a modality"),
        ({"xrey": {}}, "did you mean xray?"),
        ({"xray": {"hearts": {}}}, "did you mean heart?"),
        ({"xray": {"heart": 1.5}}, "Received 1.5 as the probability_calibration of xray's heart"),
        ({"xray": {"heart": {"temperatures": 2}}}, "'temperatures' in the probability_calibration"),
        ({"xray": {"heart": {"temperature": 0}}}, "temperature=0 in the"),
        ({"xray": {"heart": {"temperature": -1}}}, "expected a number from 0.01 to 100"),
        ({"xray": {"heart": {"temperature": True}}}, "temperature=True"),
        ({"xray": {"heart": {"temperature": float("nan")}}}, "temperature=nan"),
        ({"xray": {"heart": {"bias": "1"}}}, "bias='1'"),
        ({"xray": {"heart": {"bias": 21}}}, "expected a number from -20 to 20"),
    ],
)
def test_what_cannot_be_used_is_said(given, message):
    with pytest.raises(InputError, match=re.escape(message)):
        checked_calibration(given, TARGETS)
