"""The eight orientations of a square image: flips and right-angle turns, without resampling."""

import numpy as np

from keras_espmedsam.errors import InputError

# Name -> (mirror left to right first, then quarter turns counter-clockwise).
VARIANTS = {
    "identity": (False, 0),
    "rot90": (False, 1),
    "rot180": (False, 2),
    "rot270": (False, 3),
    "hflip": (True, 0),
    "transpose": (True, 1),
    "vflip": (True, 2),
    "antitranspose": (True, 3),
}


def vary(array, variant):
    """Flip or turn an array according to a variant.

    Args:
        array: `(height, width, ...)`.
        variant: `"identity"`, `"hflip"`, `"vflip"`, `"rot90"` (counter-clockwise), `"rot180"`,
            `"rot270"`, `"transpose"` or `"antitranspose"`.

    Returns:
        A view of the array; odd turns and transpositions swap its sides.

    Example:
        >>> vary(np.array([[1, 2], [3, 4]]), "rot90").tolist()
        [[2, 4], [1, 3]]
    """
    mirrored, turns = VARIANTS[variant]
    return np.rot90(array[:, ::-1] if mirrored else array, turns)


def checked_variants(variants, image_size):
    """Return a tuple of known variants that keep a canvas of this size.

    Raises:
        InputError: for no variant, an unknown or repeated one, or one that swaps the sides of a
            canvas that is not square.
    """
    variants = (variants,) if isinstance(variants, str) else tuple(variants)
    if not variants or set(variants) - set(VARIANTS) or len(set(variants)) < len(variants):
        raise InputError(
            f"Received variants={variants}; expected one or more of {', '.join(VARIANTS)}, each "
            "once."
        )
    turned = [name for name in variants if VARIANTS[name][1] % 2]
    if turned and image_size[0] != image_size[1]:
        raise InputError(
            f"Received the variants {', '.join(turned)} for a canvas of {image_size[0]} x "
            f"{image_size[1]}; turns need a square one. Leave them out."
        )
    return variants
