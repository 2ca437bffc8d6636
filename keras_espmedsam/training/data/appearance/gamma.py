"""Change the brightness of the middle tones."""

import dataclasses
from typing import ClassVar

import numpy as np

from keras_espmedsam.training.data.appearance.appearance_transform import (
    AppearanceTransform,
    to_bytes,
)
from keras_espmedsam.training.data.argument_ranges import ABOVE_ZERO, FINITE, pair_between


@dataclasses.dataclass(frozen=True)
class Gamma(AppearanceTransform):
    """Raise brightness to a random power, as displays and cameras do: black and white stay.

    Args:
        probability: float. How many of the images are changed.
        exponent: (float, float). Range of the power, drawn on a logarithmic scale: below 1 images
            are brighter, above 1 darker.

    Call: see `AppearanceTransform`.

    Raises:
        InputError: for a value outside of its range.

    Example:
        >>> image = np.array([[[0, 64, 255]]], "uint8")
        >>> Gamma(probability=1, exponent=(2, 2))(image, np.random.default_rng(0)).tolist()
        [[[0, 16, 255]]]
    """

    probability: float = 0.3
    exponent: tuple = (0.7, 1.5)

    ranges: ClassVar[dict] = {
        "exponent": pair_between(ABOVE_ZERO, FINITE, "two numbers above 0, the smaller one first")
    }

    def change(self, image, rng, partner):
        exponent = np.exp(rng.uniform(*np.log(self.exponent)))
        return to_bytes(255 * (np.arange(256) / 255) ** exponent)[image]
