import numpy as np
import pytest

from keras_espmedsam.data import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.quality import (
    COEFFICIENTS,
    check_min_quality,
    checked_quality,
    coefficients_by_channel,
    predicted_quality,
)

TARGETS = Targets(
    {"xray": ("lungs", "heart"), "slide": ("nuclei",)}, instances={"slide": {"nuclei": "core"}}
)
NUMBERS = dict(zip(COEFFICIENTS, range(6), strict=True))


def test_coefficients_by_channel_and_name():
    quality = checked_quality({"xray": {"heart": NUMBERS}, "slide": {"": NUMBERS}}, TARGETS)
    assert quality["slide"] == {"nuclei": NUMBERS}
    rows = coefficients_by_channel(quality, TARGETS)
    # The hidden channel of the cores has none.
    assert rows == (((), (0, 1, 2, 3, 4, 5)), ((0, 1, 2, 3, 4, 5), ()))
    found = predicted_quality(quality, TARGETS, "xray", np.array([0.25, 0.5]))
    assert found == {"heart": 0.5}
    assert checked_quality(None, TARGETS) == {} == predicted_quality({}, TARGETS, "xray", [0, 0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"xray": {"heart": {"offset": 1}}}, "expected a dict of offset, expected_dice"),
        ({"xray": {"heart": {**NUMBERS, "area": float("nan")}}}, "nan as area"),
        ({"xray": {"heart": {**NUMBERS, "peak": "1"}}}, "as peak"),
        ({"xray": {"heart": {**NUMBERS, "offset": True}}}, "True as offset"),
        ({"xray": {"liver": NUMBERS}}, "liver"),
        ([1], r"\[1\] as the quality"),
    ],
)
def test_wrong_coefficients_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        checked_quality(given, TARGETS)


@pytest.mark.parametrize("value", [-0.1, 1.1, "0.5", float("nan")])
def test_a_least_quality_is_a_share(value):
    with pytest.raises(InputError, match="from 0 to 1"):
        check_min_quality(value)
