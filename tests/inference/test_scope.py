import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.scope import (
    checked_scope,
    coefficients_by_modality,
    is_in_scope,
    out_of_scope,
)

MODALITIES = ("xray", "fundus")


def test_coefficients_are_those_of_their_modality():
    scope = checked_scope({"fundus": (0, 1, 2)}, MODALITIES, 1)
    assert scope == {"fundus": [0.0, 1.0, 2.0]}
    assert coefficients_by_modality(scope, MODALITIES) == ((), (0.0, 1.0, 2.0))
    assert checked_scope(None, MODALITIES, 1) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"liver": (0, 1, 2)}, "'liver' in the scope; expected one of xray, fundus"),
        ({"xray": (0, 1)}, "scope of xray; expected 3 numbers"),
        ({"xray": (0, 1, float("nan"))}, "expected 3 numbers"),
        ({"xray": (0, 1, "2")}, "expected 3 numbers"),
        ({"xray": (True, 1, 2)}, "expected 3 numbers"),
        ({"xray": 1}, "expected 3 numbers"),
        ([1], r"\[1\] as the scope; expected a dict"),
    ],
)
def test_wrong_coefficients_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        checked_scope(given, MODALITIES, 1)


def test_an_image_is_in_scope_up_to_1():
    assert [is_in_scope(one) for one in (None, 0.0, 1.0, 1.01)] == [None, True, True, False]
    assert out_of_scope("xray", 2, 5).startswith("2 of its 5 images look unlike")
