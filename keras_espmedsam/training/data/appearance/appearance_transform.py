"""What every random change of appearance is."""

import dataclasses
from typing import ClassVar

import numpy as np

from keras_espmedsam.training.data.argument_ranges import check_ranges


@dataclasses.dataclass(frozen=True)
class AppearanceTransform:
    """A random change of how an image looks, which leaves its mask as it is.

    Derive a frozen dataclass with a method `change(image, rng, partner)`, and name it in
    `keras_espmedsam.registries.appearance_transforms`. It works on NumPy arrays and draws from
    `rng` alone, so that a seed gives the same images on every backend.

    Args:
        probability: float. How many of the images are changed.

    Call: `transform(image, rng, partner=None)` with a uint8 image `(height, width, 3)` and a
    `numpy.random.Generator` returns an image of the same type and size. `partner` is a function of
    a generator that returns another image of the same modality, uint8 `(height, width, 3)` of any
    size, or None if there is none.

    Attributes:
        before_moving: bool. Whether it is applied to the whole image before it is turned, scaled
            and shifted, not to the result.
        ranges: dict of each further argument to its `ArgumentRange`; by default from 0 to 1.

    Raises:
        InputError: for a value outside of its range.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Negative(AppearanceTransform):
        ...     def change(self, image, rng, partner):
        ...         return 255 - image
        >>> Negative(probability=1)(np.zeros((1, 1, 3), "uint8"), np.random.default_rng(0)).tolist()
        [[[255, 255, 255]]]
    """

    probability: float = 0.5

    before_moving: ClassVar[bool] = False
    ranges: ClassVar[dict] = {}

    def __post_init__(self):
        check_ranges(self, self.ranges, f"the appearance transform {type(self).__name__}")

    def __call__(self, image, rng, partner=None):
        if rng.random() >= self.probability:
            return image
        return self.change(image, rng, partner)

    def change(self, image, rng, partner):
        """Return the changed image; see the class."""
        raise NotImplementedError(f"{type(self).__name__} lacks the method change().")


def is_grey(image):
    """Whether the channels are equal everywhere, as in X-ray and ultrasound.

    Args:
        image: array `(height, width, 3)`.

    Example:
        >>> is_grey(np.ones((2, 2, 3), "uint8"))
        True
    """
    first = image[..., :1]
    return bool((image[..., 1:] == first).all())


def to_bytes(values):
    """Round brightness to uint8, cut off at 0 and 255.

    Args:
        values: float array.

    Example:
        >>> to_bytes(np.array([-3.0, 1.6, 300.0])).tolist()
        [0, 2, 255]
    """
    return np.rint(np.clip(values, 0, 255)).astype("uint8")
