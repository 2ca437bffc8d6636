"""Add the noise of a sensor."""

import dataclasses
from typing import ClassVar

import numpy as np

from keras_espmedsam.training.data.appearance.appearance_transform import (
    AppearanceTransform,
    is_grey,
    to_bytes,
)
from keras_espmedsam.training.data.argument_ranges import pair_between


@dataclasses.dataclass(frozen=True)
class Noise(AppearanceTransform):
    """Add Gaussian noise to each pixel and channel; grey images stay grey.

    Args:
        probability: float. How many of the images are changed.
        sigma: (float, float). Range of the standard deviation, in levels of 255.

    Call: see `AppearanceTransform`.

    Raises:
        InputError: for a value outside of its range.

    Example:
        >>> image = np.full((100, 100, 3), 128, "uint8")
        >>> noisy = Noise(probability=1, sigma=(5, 5))(image, np.random.default_rng(0))
        >>> round(float(noisy.std()))
        5
    """

    probability: float = 0.2
    sigma: tuple = (1.0, 10.0)

    ranges: ClassVar[dict] = {
        "sigma": pair_between(0, 255, "two numbers from 0 to 255, the smaller one first")
    }

    def change(self, image, rng, partner):
        sigma = rng.uniform(*self.sigma)
        channels = 1 if is_grey(image) else 3
        noise = rng.standard_normal((*image.shape[:2], channels), dtype="float32")
        return to_bytes(image + np.float32(sigma) * noise)
