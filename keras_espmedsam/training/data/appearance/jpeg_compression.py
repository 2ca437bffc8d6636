"""Compress an image as JPEG."""

import dataclasses
import io
from typing import ClassVar

import numpy as np
from PIL import Image

from keras_espmedsam.training.data.appearance.appearance_transform import (
    AppearanceTransform,
    is_grey,
)
from keras_espmedsam.training.data.argument_ranges import ArgumentRange


@dataclasses.dataclass(frozen=True)
class JPEGCompression(AppearanceTransform):
    """Write an image as JPEG and read it again, as archives and screenshots do.

    Args:
        probability: float. How many of the images are changed.
        quality: (int, int). Range of Pillow's quality, 1 to 95.

    Call: see `AppearanceTransform`.

    Raises:
        InputError: for a value outside of its range.

    Example:
        >>> ramp = np.arange(0, 256, 4, "uint8")[None, :, None].repeat(64, 0).repeat(3, 2)
        >>> stored = JPEGCompression(probability=1, quality=(5, 5))
        >>> int((stored(ramp, np.random.default_rng(0)) != ramp).any())
        1
    """

    probability: float = 0.2
    quality: tuple = (30, 95)

    ranges: ClassVar[dict] = {
        "quality": ArgumentRange(
            "two whole numbers from 1 to 95, the smaller one first",
            lambda value: (
                isinstance(value, tuple)
                and len(value) == 2
                and all(type(one) is int for one in value)
                and 1 <= value[0] <= value[1] <= 95
            ),
        )
    }

    def change(self, image, rng, partner):
        low, high = self.quality
        stored = io.BytesIO()
        # One channel of a grey image, which then stays grey.
        given = Image.fromarray(image[..., 0] if is_grey(image) else image)
        given.save(stored, "JPEG", quality=int(rng.integers(low, high + 1)))
        with Image.open(stored) as read:
            return np.asarray(read.convert("RGB"))
