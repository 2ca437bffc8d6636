"""Whether a mask and the numbered objects of its target show the same."""

import numpy as np
from scipy import ndimage

from keras_espmedsam.data.record import TargetMask
from keras_espmedsam.errors import InputError

TOLERANCE = 0.01
"""The share of a mask's or of the objects' pixels that may contradict the other."""

_AROUND = np.ones((3, 3), bool)


def check_agreement(one: TargetMask, mask: np.ndarray, instances: np.ndarray) -> None:
    """Refuse objects outside of their target's mask, and foreground without an object.

    Up to 1 percent of either may contradict the other, because both are drawn by hand. A rim of
    one pixel around what they share never does: outlines move by a pixel when files are resized,
    and some labelling tools leave a gap between objects that touch.

    Args:
        one: where both are from.
        mask: bool `(height, width)`.
        instances: integers of its shape, 0 for the background.

    Raises:
        InputError: for more than that.

    Example:
        >>> from pathlib import Path
        >>> one = TargetMask("nuclei", Path("m.png"), instances=Path("n.png"))
        >>> check_agreement(one, np.eye(4) > 0, np.eye(4, dtype="int32"))
        >>> check_agreement(one, np.eye(4) > 0, np.zeros((4, 4), "int32"))
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: 100 % of the mask m.png has no object in n.png; \
expected a number for every object of nuclei. Number the others, or leave the numbers out.
    """
    objects = instances != 0
    target = one.target or "the target"
    outside = _share(objects & ~mask, objects, mask)
    if outside > TOLERANCE:
        raise InputError(
            f"{100 * outside:.3g} % of the objects in {one.instances} is outside of the mask "
            f"{one.mask}; expected objects of {target} alone, inside of its mask. Correct one of "
            "the two, or leave the mask out if the objects are all of it."
        )
    missing = _share(mask & ~objects, mask, objects)
    if missing > TOLERANCE:
        raise InputError(
            f"{100 * missing:.3g} % of the mask {one.mask} has no object in {one.instances}; "
            f"expected a number for every object of {target}. Number the others, or leave the "
            "numbers out."
        )


def _share(wrong: np.ndarray, whole: np.ndarray, other: np.ndarray) -> float:
    """Return the share of `whole` that is wrong, without a rim around what both have."""
    most = TOLERANCE * np.count_nonzero(whole)
    if np.count_nonzero(wrong) <= most:  # Nearly always, and cheap.
        return 0.0
    beyond = wrong & ~ndimage.binary_dilation(whole & other, _AROUND)
    return float(np.count_nonzero(beyond) / np.count_nonzero(whole))
