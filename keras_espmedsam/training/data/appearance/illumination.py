"""Light an image unevenly."""

import dataclasses
from typing import ClassVar

import numpy as np
from PIL import Image

from keras_espmedsam.training.data.appearance.appearance_transform import (
    AppearanceTransform,
    to_bytes,
)
from keras_espmedsam.training.data.argument_ranges import ArgumentRange


@dataclasses.dataclass(frozen=True)
class Illumination(AppearanceTransform):
    """Multiply an image by a smooth random field, as lamps near the object do.

    Args:
        probability: float. How many of the images are changed.
        strength: float. Largest relative change of brightness either way.
        grid: int. Random values along each side, from 2, between which the field is interpolated:
            with 2 the brightness changes from one side to the other, with more there are spots.

    Call: see `AppearanceTransform`.

    Raises:
        InputError: for a value outside of its range.

    Example:
        >>> image = np.full((1, 5, 3), 100, "uint8")
        >>> lit = Illumination(probability=1, strength=0.5, grid=2)
        >>> lit(image, np.random.default_rng(1))[0, :, 0].tolist()
        [150, 140, 109, 78, 66]
    """

    probability: float = 0.3
    strength: float = 0.3
    grid: int = 3

    ranges: ClassVar[dict] = {
        "grid": ArgumentRange(
            "a whole number from 2 to 64",
            lambda value: type(value) is int and 2 <= value <= 64,
        )
    }

    def change(self, image, rng, partner):
        low, high = 1 - self.strength, 1 + self.strength
        coarse = rng.uniform(low, high, (self.grid, self.grid)).astype("float32")
        height, width = image.shape[:2]
        field = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        # Between two values the curve may pass them.
        return to_bytes(image * np.clip(np.asarray(field), low, high)[..., None])
