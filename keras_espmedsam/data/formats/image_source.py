"""What a file format's reader gives: what the header says, and how to decode the images."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from keras_espmedsam.data.formats.volume import Volume
from keras_espmedsam.data.layout import UPRIGHT, Layout
from keras_espmedsam.imaging.stored_values import Meaning


class Frame(NamedTuple):
    """One decoded image of a file: upright values, their layout, and what the file says of them."""

    array: np.ndarray
    layout: Layout = UPRIGHT
    volume: Volume | None = None
    meaning: Meaning = Meaning()


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """What a file's header says, and how to decode it.

    Args:
        height: stored height of its images in pixels.
        width: stored width of its images in pixels.
        count: how many images it holds.
        frames: decodes them, one after another.
        labels: does so without what makes them nice to look at (a window, a percentile), where
            `frames` does that: the stored values of a mask.
        read_at_once: whether decoding the first holds all of them in memory.
        no_image: what the pixels are where they are no image, such as the segments of one; empty
            where they are.
        serves_as_mask: whether they serve as a mask.
        layout: how its first image is turned upright.
        volume: where its images lie in space, otherwise None.
    """

    height: int
    width: int
    count: int
    frames: Callable[[], Iterator[Frame]]
    read_at_once: bool = False
    labels: Callable[[], Iterator[Frame]] | None = None
    no_image: str = ""
    serves_as_mask: bool = True
    layout: Layout = UPRIGHT
    volume: Volume | None = None
