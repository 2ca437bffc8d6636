"""Place an image on the model's canvas, and map results back."""

import dataclasses
from typing import Any

import numpy as np
from PIL import Image

from keras_espmedsam.imaging.arrays import pixels
from keras_espmedsam.imaging.bands import BAND_VALUES, bands
from keras_espmedsam.imaging.pixels import as_unit_floats

Size = tuple[int, int]
"""Height and width, in pixels."""

SIZE_MULTIPLE = 32
RESIZE_MODES = ("pad", "stretch")


def resize(image: np.ndarray, height: int, width: int, white: float = 1.0) -> np.ndarray:
    """Resize an `(h, w)` or `(h, w, c)` array bilinearly, with averaging when it shrinks.

    Pillow does this on the host, so that all backends get the same numbers and JAX does not
    compile a program for each image size. A large image is processed in bands, one channel at a
    time, to save memory.

    Args:
        image: float32, or brightness as uint8 or uint16, which becomes float32 in [0, 1].
        height, width: of the result.
        white: factor for the values.
    """
    if image.ndim == 3 and image.shape[:2] != (height, width):
        channels = [resize(image[..., c], height, width, white) for c in range(image.shape[-1])]
        return np.stack(channels, axis=-1)
    if image.shape[:2] == (height, width):
        return _floats(image, white)
    grey = _pillow_floats(image, white)
    if height < image.shape[0] or height * width <= BAND_VALUES:
        return pixels(grey.resize((width, height), Image.Resampling.BILINEAR))
    # If the number of rows does not shrink, Pillow resizes along the rows first; after that, each
    # column is independent.
    grey = grey.resize((width, image.shape[0]), Image.Resampling.BILINEAR)
    out = np.empty((height, width), "float32")
    for part in bands(width, height):
        columns = grey.crop((part.start, 0, part.stop, grey.height))
        out[:, part] = columns.resize((columns.width, height), Image.Resampling.BILINEAR)
    return out


def _floats(image, white):
    image = as_unit_floats(image)
    return image if white == 1 else image * np.float32(white)


def _pillow_floats(image, white):
    """Convert an array `(height, width)` to a Pillow image of floats."""
    height, width = image.shape
    if image.size <= BAND_VALUES:
        return _small_pillow_floats(image, white)
    grey = Image.new("F", (width, height), None)
    for part in bands(height, width):
        grey.paste(_small_pillow_floats(image[part], white), (0, part.start))
    return grey


def _small_pillow_floats(image, white):
    return Image.fromarray(np.ascontiguousarray(_floats(image, white), dtype="float32"))


@dataclasses.dataclass(frozen=True)
class Placement:
    """The placement of an image at the top left of a canvas.

    Args:
        size: (height, width) of the image.
        inner: (height, width) of the image on the canvas.
        canvas: (height, width) of the canvas; the rest of it is padding.

    Example:
        >>> place = Placement.of((288, 384), image_size=(256, 256))
        >>> place.inner
        (192, 256)

    Source: SAM (arXiv 2304.02643), for padding at the right and bottom.
    """

    size: Size
    inner: Size
    canvas: Size

    @classmethod
    def of(
        cls, size: Size, image_size: Size | None = None, resize_mode: str = "pad"
    ) -> "Placement":
        """Compute the placement for a preset's image size and resize mode.

        Args:
            size: (height, width) of the image.
            image_size: (height, width) of the canvas; `None` keeps the image's size and pads it to
                multiples of 32.
            resize_mode: `"pad"` keeps the aspect ratio, `"stretch"` fills the canvas.
        """
        height, width = size
        if image_size is None:
            rows, columns = (-(-length // SIZE_MULTIPLE) for length in size)
            canvas = rows * SIZE_MULTIPLE, columns * SIZE_MULTIPLE
            return cls((height, width), (height, width), canvas)
        canvas = image_size[0], image_size[1]
        if resize_mode == "stretch":
            return cls((height, width), canvas, canvas)
        scale = min(image_size[0] / height, image_size[1] / width)
        inner = (
            min(max(round(height * scale), 1), image_size[0]),
            min(max(round(width * scale), 1), image_size[1]),
        )
        return cls((height, width), inner, canvas)

    def forward(self, image: np.ndarray, fill: Any = 0.0, white: float = 1.0) -> np.ndarray:
        """Draw an image on the canvas: `(*size[, c])` to `(*canvas[, c])` float32.

        Args:
            image: the image; see `resize`. A single channel is repeated for each value of `fill`.
            fill: the padding: a number, or one per channel.
            white: factor for the values.
        """
        inner = resize(image, *self.inner, white)
        if self.inner == self.canvas:
            return inner
        out = np.empty((*self.canvas, *(np.shape(fill) or image.shape[2:])), "float32")
        out[...] = fill
        out[: self.inner[0], : self.inner[1]] = inner
        return out

    def forward_mask(self, mask: Any) -> np.ndarray:
        """Draw a mask on the canvas like its image; values of 0.5 or more become foreground."""
        return (self.forward(np.asarray(mask, "float32")) >= 0.5).astype("float32")

    def backward(self, values: np.ndarray) -> np.ndarray:
        """Map `(*canvas[, c])` back: cut the padding off and resize to `size`."""
        return resize(values[: self.inner[0], : self.inner[1]], *self.size)
