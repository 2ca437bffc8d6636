"""Masks and label images of several targets."""

import numpy as np
import pytest

from keras_espmedsam.data import Targets
from keras_espmedsam.export.target_planes import draw_planes, labels_by_group, num_planes

TARGETS = Targets(
    {"eye": ("disc", "a", "v"), "slide": ("nuclei",), "lung": ("left", "right")},
    exclusive={"eye": [("v", "a")], "lung": [("left", "right")]},
    instances={"slide": {"nuclei": "boundary"}},
)


def test_targets_count_in_the_order_of_their_group():
    assert labels_by_group(TARGETS).tolist() == [[[0, 0, 1], [2, 0, 2], [1, 0, 0]]]
    assert labels_by_group(Targets({"eye": ("a", "b")})).shape == (0, 2, 1)
    two = Targets({"eye": tuple("abcd")}, exclusive={"eye": [("a", "b"), ("d", "c")]})
    assert labels_by_group(two)[..., 0].tolist() == [[1, 2, 0, 0], [0, 0, 2, 1]]


def test_hidden_channels_are_no_planes():
    assert (num_planes(TARGETS), TARGETS.num_channels) == (3, 3)
    slides = TARGETS.only("slide")
    drawn = draw_planes(np.ones((1, 1, 1, 2)), 0.5, slides, np.zeros(1, int))
    assert list(drawn) == ["masks"] and drawn["masks"].shape == (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("values", "masks", "label"),
    [
        ((3, -1, -1), (1, 0, 0), 0),
        ((-1, 2, -1), (0, 1, 0), 2),
        ((5, -1, 0), (1, 0, 1), 1),
        ((0, 2, 1), (1, 1, 0), 2),
        ((0, 2, 2), (1, 0, 1), 1),  # The first of the group, which is not the first channel.
        ((-1, -np.inf, -np.inf), (0, 0, 0), 0),
    ],
)
def test_one_target_of_a_group_keeps_a_pixel(values, masks, label):
    pixel = np.array(values, "float32").reshape(1, 1, 1, 3)
    drawn = draw_planes(pixel, 0, TARGETS, np.array([0]))
    assert drawn["masks"].ravel().tolist() == list(masks)
    assert drawn["labels"].shape == (1, 1, 1) and drawn["labels"].item() == label


def test_groups_are_those_of_an_images_modality():
    values = np.tile(np.array([2.0, 3.0, 1.0], "float32"), (3, 2, 2, 1))
    drawn = draw_planes(values, 0, TARGETS, np.array([0, 1, 2]))
    assert drawn["labels"][:, 0, 0].tolist() == [2, 0, 2]
    assert drawn["masks"][:, 0, 0].tolist() == [[1, 1, 0], [1, 1, 1], [0, 1, 1]]
    assert drawn["masks"].dtype == drawn["labels"].dtype == np.uint8


def test_several_groups_have_a_plane_each():
    two = Targets({"eye": tuple("abcd")}, exclusive={"eye": [("a", "b"), ("d", "c")]})
    values = np.array([[[[1.0, 2.0, 2.0, 1.0]]]])
    assert draw_planes(values, 0, two, np.array([0]))["labels"].tolist() == [[[[2, 2]]]]
