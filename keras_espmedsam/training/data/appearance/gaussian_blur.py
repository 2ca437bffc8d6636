"""Blur an image."""

import dataclasses
from typing import ClassVar

import numpy as np
from PIL import Image, ImageFilter

from keras_espmedsam.training.data.appearance.appearance_transform import AppearanceTransform
from keras_espmedsam.training.data.argument_ranges import pair_between


@dataclasses.dataclass(frozen=True)
class GaussianBlur(AppearanceTransform):
    """Blur an image, as one that is out of focus.

    Args:
        probability: float. How many of the images are changed.
        sigma: (float, float). Range of the standard deviation, in pixels.

    Call: see `AppearanceTransform`.

    Raises:
        InputError: for a value outside of its range.

    Example:
        >>> image = np.zeros((9, 9, 3), "uint8")
        >>> image[4, 4] = 255
        >>> blurred = GaussianBlur(probability=1, sigma=(1, 1))(image, np.random.default_rng(0))
        >>> int(blurred[4, 4, 0])
        42
    """

    probability: float = 0.2
    sigma: tuple = (0.3, 1.5)

    ranges: ClassVar[dict] = {
        "sigma": pair_between(0, 100, "two numbers of pixels up to 100, the smaller one first")
    }

    def change(self, image, rng, partner):
        blur = ImageFilter.GaussianBlur(rng.uniform(*self.sigma))
        return np.asarray(Image.fromarray(image).filter(blur))
