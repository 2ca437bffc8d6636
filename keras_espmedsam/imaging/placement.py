"""Where an image lies on the model's canvas, and the way back."""

import dataclasses
from typing import Any

import numpy as np
from PIL import Image

Size = tuple[int, int]
"""Height and width, in pixels."""

SIZE_MULTIPLE = 32
RESIZE_MODES = ("pad", "stretch")


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear resize of a float32 `(h, w)` or `(h, w, c)` array, averaging when it shrinks.

    Done by Pillow on the host, so that all backends see the same numbers and JAX does not
    compile a program for each image size.
    """
    if image.shape[:2] == (height, width):
        return image
    if image.ndim == 3:
        channels = [resize(image[..., c], height, width) for c in range(image.shape[-1])]
        return np.stack(channels, axis=-1)
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

    def forward(self, image: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """Draw the image: `(*size[, c])` float32 to `(*canvas[, c])`."""
        inner = resize(image, *self.inner)
        if self.inner == self.canvas:
            return inner
        out = np.empty((*self.canvas, *image.shape[2:]), "float32")
        out[...] = fill
        out[: self.inner[0], : self.inner[1]] = inner
        return out

    def forward_mask(self, mask: Any) -> np.ndarray:
        """Draw a mask as its image is drawn; foreground is what then has a value of 0.5 or more."""
        return (self.forward(np.asarray(mask, "float32")) >= 0.5).astype("float32")

    def backward(self, values: np.ndarray) -> np.ndarray:
        """Undo: cut the padding off `(*canvas[, c])` and resize to `size`."""
        return resize(values[: self.inner[0], : self.inner[1]], *self.size)
