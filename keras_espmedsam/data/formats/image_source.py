"""The result of opening a file: the contents of its header, and how to decode its images."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from keras_espmedsam.data.formats.volume import Volume
from keras_espmedsam.data.layout import UPRIGHT, Layout
from keras_espmedsam.imaging.stored_values import Meaning


class Frame(NamedTuple):
    """One decoded image of a file: upright values, their layout and their meaning.

    Example:
        >>> frame = Frame(np.zeros((4, 6), "uint16"), meaning=Meaning(bits=12))
        >>> frame.array.shape, frame.volume
        ((4, 6), None)
    """

    array: np.ndarray
    layout: Layout = UPRIGHT
    volume: Volume | None = None
    meaning: Meaning = Meaning()


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """The contents of a file's header, and how to decode its images.

    Args:
        height: stored height of its images in pixels.
        width: stored width of its images in pixels.
        count: the number of images.
        frames: function that decodes the images, one after another.
        labels: function that decodes the stored values of masks, if `frames` changes values for
            display (a window, percentiles).
        read_at_once: whether decoding the first image loads all of them into memory.
        no_image: a description of pixels that are not an image, such as segments; empty if they
            are an image.
        serves_as_mask: whether the pixels can be used as a mask.
        layout: how its first image is turned upright.
        volume: the position of its images in space; None if it has none.

    Example:
        >>> source = ImageSource(4, 6, 2, lambda: (Frame(np.full((4, 6), i)) for i in range(2)))
        >>> [int(frame.array.max()) for frame in source.frames()]
        [0, 1]
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
