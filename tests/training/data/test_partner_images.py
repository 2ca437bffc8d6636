"""Which other image a change of appearance is given."""

import numpy as np
import pytest

from keras_espmedsam.data import Record
from keras_espmedsam.training.data.augmentation import FILL
from keras_espmedsam.training.data.partner_images import PartnerImages

SETS = [*[("fundus", "drive")] * 3, *[("fundus", "hrf")] * 9, ("fundus", "stare"), ("xray", "a")]


class Images:
    """Images of 4 x 6 on a canvas of 6 x 6; their brightness is their row."""

    records = tuple(
        Record("train", modality, name, f"{row}.png") for row, (modality, name) in enumerate(SETS)
    )

    def __getitem__(self, rows):
        canvas = np.full((6, 6, 3), FILL, "uint8")
        canvas[:4] = rows[0]
        return [(canvas, None)]


def drawn(row, count=300):
    rng, partners = np.random.default_rng(0), PartnerImages(Images())
    found = [partners(row, rng) for _ in range(count)]
    assert all(one.shape == (4, 6, 3) for one in found)
    return [int(one[0, 0, 0]) for one in found]


def test_the_other_data_sets_of_the_modality_equally_often():
    rows = drawn(0)
    names = [SETS[row] for row in rows]
    assert set(names) == {("fundus", "hrf"), ("fundus", "stare")}
    assert names.count(("fundus", "stare")) == pytest.approx(150, abs=30)
    assert set(rows) == set(range(3, 13))


def test_the_same_data_set_where_there_is_no_other():
    images = Images()
    images.records = images.records[:3]
    partners = PartnerImages(images)
    rng = np.random.default_rng(0)
    found = {int(partners(1, rng)[0, 0, 0]) for _ in range(30)}
    assert found == {0, 2}


def test_none_where_there_is_no_other_image():
    assert PartnerImages(Images())(13, np.random.default_rng(0)) is None


def test_an_image_of_nothing_but_the_filling_colour_is_given_whole():
    class Filled(Images):
        def __getitem__(self, rows):
            return [(np.full((6, 6, 3), FILL, "uint8"), None)]

    assert PartnerImages(Filled())(0, np.random.default_rng(0)).shape == (6, 6, 3)
