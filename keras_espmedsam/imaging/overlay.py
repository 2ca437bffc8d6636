"""An image with its mask drawn on it, for people to look at."""

import os

import numpy as np
from PIL import Image
from scipy import ndimage

from keras_espmedsam._files import atomic_path
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.pixels import as_unit_floats, rgb_brightness

# No tissue, dye or grey scale has this green; the dark rim keeps it apart from bright images.
_COLOUR = np.array([40, 255, 120], np.float32)
_FILL, _RIM = 0.3, 0.65


def draw_overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Draw a mask on an image: a translucent fill, a bright contour and a dark rim outside.

    The contour is a pixel wide, and wider on images of more than 800 pixels.

    Args:
        image: `(height, width)`, `(height, width, 3)` or `(height, width, 4)`: uint8, uint16, or
            floating point in [0, 1].
        mask: `(height, width)`, nonzero is foreground.

    Returns:
        uint8 `(height, width, 3)`.

    Raises:
        InputError: when the sizes differ.

    Example:
        >>> draw_overlay(np.zeros((5, 5), "uint8"), np.eye(5))[2, 2].tolist()
        [40, 255, 120]

    Source: ours.
    """
    image, mask = np.asarray(image), np.asarray(mask) != 0
    if mask.shape != image.shape[:2]:
        raise InputError(
            f"Received a mask of {mask.shape} for an image of {image.shape[:2]}; give it the "
            "image's height and width."
        )
    canvas = rgb_brightness(image)
    if canvas.dtype != np.uint8:
        canvas = np.round(as_unit_floats(canvas) * 255).astype(np.uint8)
    # A copy: it is drawn on.
    canvas = np.repeat(canvas, 3, axis=-1) if canvas.shape[-1] == 1 else canvas.copy()
    if not mask.any():
        return canvas
    rows, columns = ndimage.find_objects(mask.astype(np.uint8))[0]
    width = max(1, round(max(mask.shape) / 800))
    # Only the surroundings of the mask change: on large images the rest is not computed.
    window = tuple(
        slice(max(0, part.start - width - 1), part.stop + width + 1) for part in (rows, columns)
    )
    part, inside = canvas[window], mask[window]
    inner = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    outer = ndimage.distance_transform_edt(~inside)
    contour, rim = inside & (inner <= width), ~inside & (outer <= width)
    part[inside] = (part[inside] * (1 - _FILL) + _COLOUR * _FILL).astype(np.uint8)
    part[contour] = _COLOUR.astype(np.uint8)
    part[rim] = (part[rim] * (1 - _RIM)).astype(np.uint8)
    return canvas


def write_overlay(path: str | os.PathLike, image: np.ndarray, mask: np.ndarray) -> None:
    """Write `draw_overlay(image, mask)` as a PNG file, complete or not at all.

    Args:
        path: the file; an existing one is replaced.
        image: the image; see `draw_overlay`.
        mask: `(height, width)`, nonzero is foreground.

    Raises:
        InputError: when the sizes differ.

    Example:
        >>> import tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "overlay.png")
        >>> write_overlay(path, np.zeros((4, 6), "uint8"), np.ones((4, 6)))
        >>> Image.open(path).size
        (6, 4)

    Source: ours.
    """
    canvas = Image.fromarray(draw_overlay(image, mask))
    with atomic_path(path) as temporary:
        canvas.save(temporary, format="PNG")
