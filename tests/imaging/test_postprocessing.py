import re

import numpy as np
import pytest
from scipy import ndimage

from keras_espmedsam.data import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.placement import Placement
from keras_espmedsam.imaging.postprocessing import (
    checked_postprocessing,
    options_at_image_size,
    postprocess_mask,
)

TARGETS = Targets({"xray": ("lungs", "heart"), "microscopy": ("nuclei",), "mri": ("mask",)})


def ring_and_speck():
    mask = np.zeros((9, 12), np.uint8)
    mask[1:7, 1:7] = 1
    mask[3:5, 3:5] = 0
    mask[7, 10] = mask[8, 9] = 255  # Connected at a corner.
    return mask


def test_nothing_is_done_by_default():
    mask = ring_and_speck()
    found = postprocess_mask(mask)
    assert found.dtype == bool
    assert (found == (mask != 0)).all()


@pytest.mark.parametrize(
    ("options", "area"),
    [
        ({"min_area": 2}, 34),
        ({"min_area": 3}, 32),
        ({"fill_holes": True}, 38),
        ({"max_objects": 1}, 32),
        ({"max_objects": 2}, 34),
        ({"max_objects": 1, "fill_holes": True}, 36),
        ({"min_area": 33}, 0),
        ({"min_area": 33, "fill_holes": True}, 36),
    ],
)
def test_parts_and_holes(options, area):
    assert postprocess_mask(ring_and_speck(), **options).sum() == area


def test_a_hole_with_an_island_is_filled_and_a_bay_is_not():
    mask = np.ones((9, 9), bool)
    mask[2:7, 2:7] = False
    mask[4, 4] = True
    mask[0, 8] = False  # At the border of the image.
    found = postprocess_mask(mask, fill_holes=True)
    assert (found == ndimage.binary_fill_holes(mask)).all()
    assert not found[0, 8]


def test_an_empty_mask_and_a_full_one_stay():
    for value in (0, 1):
        mask = np.full((3, 4), value)
        assert (
            postprocess_mask(mask, min_area=2, fill_holes=True, max_objects=1) == (value == 1)
        ).all()


@pytest.mark.parametrize("scale", [1, 2, 5])
@pytest.mark.parametrize("mode", ["pad", "stretch"])
def test_the_same_image_gives_the_same_objects_at_every_size(scale, mode):
    mask = np.kron(ring_and_speck() != 0, np.ones((scale, scale), bool))
    # The canvas has 32 x 32 pixels, of which an image of 9 x 12 covers 24 x 32 or all.
    place = Placement.of(mask.shape, (32, 32), mode)
    canvas_pixels = np.prod(place.inner) / (9 * 12)
    for least, area in ((1.9, 34), (2.1, 32)):
        options = options_at_image_size({"min_area": least * canvas_pixels}, place)
        assert postprocess_mask(mask, **options).sum() == area * scale**2


def test_a_preset_without_a_size_of_its_own_has_areas_of_the_image():
    assert options_at_image_size({}, Placement.of((50, 70))) == {
        "min_area": 0,
        "fill_holes": False,
        "max_objects": 0,
    }
    assert options_at_image_size({"min_area": 7}, Placement.of((50, 70)))["min_area"] == 7


def test_what_is_checked_is_plain_and_leaves_defaults_out():
    given = {
        "microscopy": {"nuclei": {"min_area": np.float32(20), "fill_holes": np.True_}},
        "xray": {
            "heart": {"max_objects": np.int64(1), "min_area": 0},
            "lungs": {"fill_holes": False},
        },
        "mri": {"": {"min_area": 2.5}},
    }
    found = checked_postprocessing(given, TARGETS)
    assert found == {
        "microscopy": {"nuclei": {"min_area": 20, "fill_holes": True}},
        "xray": {"heart": {"max_objects": 1}},
        "mri": {"mask": {"min_area": 2.5}},
    }
    assert type(found["microscopy"]["nuclei"]["min_area"]) is int
    assert checked_postprocessing(found, TARGETS) == found
    assert checked_postprocessing(None, TARGETS) == checked_postprocessing({}, TARGETS) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1], "Received [1] as the postprocessing; expected a dict with a modality as each key"),
        ({"xrey": {}}, "Received the modality 'xrey'; did you mean xray?"),
        ({"xray": True}, "Received True as the postprocessing of xray; expected a dict with a ta"),
        ({"xray": {"hart": {}}}, "Received the target 'hart' of xray; did you mean heart?"),
        ({"xray": {"nuclei": {}}}, "It is a target of microscopy."),
        ({"xray": {3: {}}}, "Received the target 3 in the postprocessing of xray"),
        ({"xray": {"heart": 20}}, "Received 20 as the postprocessing of xray's heart; expected a"),
        ({"xray": {"heart": {"min_are": 2}}}, "'min_are' in the postprocessing of xray's heart; d"),
        ({"xray": {"heart": {"min_area": -1}}}, "min_area=-1 in the postprocessing of xray's hea"),
        ({"xray": {"heart": {"min_area": True}}}, "expected a number of pixels of the model's"),
        ({"xray": {"heart": {"min_area": "20"}}}, "min_area='20'"),
        ({"xray": {"heart": {"min_area": float("nan")}}}, "min_area=nan"),
        ({"xray": {"heart": {"min_area": float("inf")}}}, "min_area=inf"),
        ({"xray": {"heart": {"min_area": 10**400}}}, "min_area=a number of 401 digits"),
        ({"xray": {"heart": {"fill_holes": 1}}}, "fill_holes=1 in the postprocessing of xray's"),
        ({"xray": {"heart": {"max_objects": True}}}, "max_objects=True in the postprocessing of"),
        ({"xray": {"heart": {"max_objects": 1.5}}}, "max_objects=1.5 in the postprocessing of x"),
        ({"xray": {"heart": {"max_objects": -1}}}, "max_objects=-1 in the postprocessing of xra"),
    ],
)
def test_what_cannot_be_used_is_said(given, message):
    with pytest.raises(InputError, match=re.escape(message)):
        checked_postprocessing(given, TARGETS)
