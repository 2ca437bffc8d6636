"""What needs no pass of the model; see also test_quality_segmenter.py, which has both."""

import pytest

from keras_espmedsam.errors import InputError, InputWarning
from tests.small_segmenter import small_segmenter

NUMBERS = [0.25, *([0.5, -0.5] * 16)]


@pytest.fixture(scope="module")
def plain():
    return small_segmenter(("xray", "fundus"))


def test_it_is_kept_where_the_modality_is(plain):
    able = plain.with_scope({"fundus": NUMBERS})
    assert able.scope == {"fundus": NUMBERS} and able.backbone is plain.backbone
    assert able.get_config()["scope"] == able.scope and "scope" not in plain.get_config()
    assert set(able.output) == {"masks", "patches", "scope_score"}
    assert able.specialize("fundus").scope == able.scope
    assert able.specialize("xray").scope == {}
    assert able.with_quality(None).scope == able.scope
    assert able.with_scope(None).scope == {} and set(plain.output) == {"masks", "patches"}


def test_weights_that_change_end_it(plain):
    able = plain.with_scope({"fundus": NUMBERS})
    with pytest.warns(InputWarning, match="fitted for other weights"):
        able.weights_change()
    assert able.scope == {} and "scope" not in able.get_config()


def test_wrong_numbers_are_refused(plain):
    with pytest.raises(InputError, match="expected 33 numbers"):
        plain.with_scope({"fundus": NUMBERS[1:]})
