"""Modalities in every form in which they are given."""

import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.modalities import (
    TO_RECOGNIZE,
    modality_indices,
    no_modality,
    plain_modalities,
)

KNOWN = ("xray", "fundus", "skin")


@pytest.mark.parametrize(
    ("given", "count", "expected"),
    [
        ("fundus", 2, [1, 1]),
        (2, 3, [2, 2, 2]),
        (np.int64(2), 1, [2]),
        (b"skin", 1, [2]),
        (["xray", 1], 2, [0, 1]),
        (("xray", b"skin"), 2, [0, 2]),
        (np.array(["skin", "xray"]), 2, [2, 0]),
        (np.array([[1], [2]]), 2, [1, 2]),
        (np.array(1), 2, [1, 1]),
        ([], 0, []),
        ("xray", 0, []),
    ],
)
def test_names_and_numbers(given, count, expected):
    found = modality_indices(KNOWN, given, count)
    assert found.dtype == np.int32
    assert found.tolist() == expected


def test_auto_is_a_number_of_its_own_where_it_may_be_given():
    found = modality_indices(KNOWN, ["auto", "skin"], 2, auto=True)
    assert found.tolist() == [TO_RECOGNIZE, 2]
    with pytest.raises(InputError, match="Unknown modality 'auto'; this model knows xray, fundus"):
        modality_indices(KNOWN, ["auto", "skin"], 2)


def test_a_model_of_one_modality_need_not_be_told():
    assert modality_indices(("eye",), None, 2).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, r"^Received no modality; give one of xray, fundus, skin per image\.$"),
        ("xary", r"^Unknown modality 'xary'; this model knows xray, fundus, skin; did you mean xr"),
        (3, r"^Unknown modality 3; this model knows xray, fundus, skin \(0 to 2\)\.$"),
        (-1, "Unknown modality -1"),
        (True, "Unknown modality True"),
        (1.0, r"Unknown modality 1\.0"),
        (["xray"], "1 modalities for 2 images"),
        ({"a": 1}, "Unknown modality"),
    ],
)
def test_what_is_none(given, words):
    with pytest.raises(InputError, match=words):
        modality_indices(KNOWN, given, 2)


def test_auto_is_offered_where_it_may_be_given():
    with pytest.raises(InputError, match="per image, or 'auto' to have it recognised"):
        modality_indices(KNOWN, None, 2, auto=True)
    with pytest.raises(InputError, match="'auto' to have it recognised; did you mean auto"):
        modality_indices(KNOWN, "autom", 2, auto=True)
    assert no_modality(KNOWN, "!").endswith("per image!.")


def test_plain():
    assert plain_modalities(np.array([b"eye", b"lung"], object)) == ["eye", "lung"]
    assert plain_modalities(None) is None
