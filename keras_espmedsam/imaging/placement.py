"""Where an image lies on the model's canvas, and the way back."""

import dataclasses
from typing import Any

import numpy as np
from PIL import Image

from keras_espmedsam.imaging.pixels import as_unit_floats

Size = tuple[int, int]
"""Height and width, in pixels."""

SIZE_MULTIPLE = 32
RESIZE_MODES = ("pad", "stretch")


def resize(image: np.ndarray, height: int, width: int, white: float = 1.0) -> np.ndarray:
    """Bilinear resize of an `(h, w)` or `(h, w, c)` array, averaging when it shrinks.

    Args:
        image: float32, or brightness as uint8 or uint16, which becomes float32 in [0, 1] channel
            by channel: of a large image a whole copy in floats would be most of the memory.
        height, width: of the result.
        white: what 1 becomes.

    Done by Pillow on the host, so that all backends see the same numbers and JAX does not
    compile a program for each image size.
    """
    if image.ndim == 3 and image.shape[:2] != (height, width):
        channels = [resize(image[..., c], height, width, white) for c in range(image.shape[-1])]
        return np.stack(channels, axis=-1)
    image = as_unit_floats(image)
    if white != 1:
        image = image * np.float32(white)
    if image.shape[:2] == (height, width):
        return image
    grey = Image.fromarray(np.ascontiguousarray(image, dtype="float32"))
    return np.asarray(grey.resize((width, height), Image.Resampling.BILINEAR))


@dataclasses.dataclass(frozen=True)
class Placement:
    """An image of `size` drawn at the top left of a `canvas`, scaled to `inner`.

    Args:
        size: (height, width) of the image.
        inner: (height, width) that it takes on the canvas.
        canvas: (height, width) of the canvas; what the image does not cover is padding.

    Example:
        >>> place = Placement.of((288, 384), image_size=(256, 256))
        >>> place.inner
        (192, 256)

    Source: SAM pads at the right and bottom (arXiv 2304.02643); the rest is ours.
    """

    size: Size
    inner: Size
    canvas: Size

    @classmethod
    def of(
        cls, size: Size, image_size: Size | None = None, resize_mode: str = "pad"
    ) -> "Placement":
        """The placement that a preset's properties ask for.

        Args:
            size: (height, width) of the image.
            image_size: (height, width) of the canvas; `None` keeps the image's own size and
                pads it to multiples of 32.
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
        """Draw the image: `(*size[, c])`, see `resize`, to `(*canvas[, c])` float32.

        Args:
            image: the image; of grey one channel becomes as many as `fill` has.
            fill: what lies around it: a number, or one for each channel.
            white: what 1 becomes.
        """
        inner = resize(image, *self.inner, white)
        if self.inner == self.canvas:
            return inner
        out = np.empty((*self.canvas, *(np.shape(fill) or image.shape[2:])), "float32")
        out[...] = fill
        out[: self.inner[0], : self.inner[1]] = inner
        return out

    def forward_mask(self, mask: Any) -> np.ndarray:
        """Draw a mask as its image is drawn; foreground is what then has a value of 0.5 or more."""
        return (self.forward(np.asarray(mask, "float32")) >= 0.5).astype("float32")

    def backward(self, values: np.ndarray) -> np.ndarray:
        """Undo: cut the padding off `(*canvas[, c])` and resize to `size`."""
        return resize(values[: self.inner[0], : self.inner[1]], *self.size)
