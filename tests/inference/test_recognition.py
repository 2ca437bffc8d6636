"""When a recognised modality will do, and how it is told."""

import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.recognition import check_classes, decide, shown

NAMES = ("xray", "fundus", "other")
KNOWN = ("fundus", "xray", "skin")


def test_the_most_probable_class_is_taken():
    found = decide(np.array([0.15, 0.8, 0.05], "float32"), NAMES, 0.75, KNOWN)
    assert (found.modality, found.refusal) == ("fundus", "")
    assert type(found.confidence) is float and found.confidence == pytest.approx(0.8)


def test_exactly_the_least_confidence_is_enough():
    assert not decide([0.25, 0.75, 0], NAMES, 0.75, KNOWN).refusal
    # 0.9 in float32 is a little less than in float64.
    assert not decide(np.array([0.1, 0.9, 0], "float32"), NAMES, 0.9, KNOWN).refusal


def test_several_images_are_decided_by_their_mean():
    found = decide([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.1, 0.9, 0]], NAMES, 0.6, KNOWN)
    assert (found.modality, found.refusal) == ("fundus", "")
    assert found.confidence == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("probabilities", "sentence"),
    [
        ([0.4, 0.5, 0.1], "was not recognised: fundus 0.50, xray 0.40, other 0.10 (at least"),
        ([0.2501, 0.7499, 0], "was not recognised: fundus 0.74, xray 0.25 (at least 0.75 is"),
        ([0, 0.7, 0.009], "was not recognised: fundus 0.70, other 0.00 (at least"),
        ([np.nan] * 3, "was not recognised: xray nan, fundus nan (at least"),
        ([0, 0.1, 0.9], "was recognised as other (0.900), which this segmenter does not know (it"),
    ],
)
def test_refusals_name_the_candidates(probabilities, sentence):
    assert decide(probabilities, NAMES, 0.75, KNOWN).refusal.startswith(sentence)


def test_classes_must_have_something_in_common():
    check_classes(NAMES, KNOWN)
    with pytest.raises(InputError, match="tells xray, fundus, other apart, and the segmenter"):
        check_classes(NAMES, ("brain",))
    with pytest.raises(InputError, match="tells classes without names apart"):
        check_classes(None, KNOWN)


def test_probabilities_are_cut():
    assert [shown(p) for p in (0.9996, 1, 0, np.float32(0.998))] == [
        *("0.999", "1.000", "0.000", "0.998")
    ]
