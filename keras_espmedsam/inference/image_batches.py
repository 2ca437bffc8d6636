"""Images of any sizes, grouped into batches that a compiled model takes one at a time."""

import numbers
from collections.abc import Iterator
from typing import Any

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.raw_batch import Rows, height_and_width, read_row


def image_batches(converter: Any, images: Rows, batch_size: int) -> Iterator[tuple[list[int], int]]:
    """Group images whose canvases have one size.

    Args:
        converter: `HostImageConverter`.
        images: list or array of images, as `to_rgb` takes them.
        batch_size: int.

    Yields:
        Tuple of the images' numbers and the size of the batch they are to be filled up to.

    Raises:
        InputError: for what is no image.

    Source: ours.
    """
    by_canvas: dict[tuple[int, int], list[int]] = {}
    for i, image in enumerate(images):
        size = height_and_width(image)
        if size is None:
            read_row(converter, images, i)  # Raises the sentence that fits.
        by_canvas.setdefault(converter.place(size).canvas, []).append(i)
    for members in by_canvas.values():
        for start in range(0, len(members), batch_size):
            yield members[start : start + batch_size], min(batch_size, len(members))


def check_batch_size(batch_size: Any) -> None:
    """Refuse what is no number of images.

    Raises:
        InputError: for it.

    Source: ours.
    """
    if not isinstance(batch_size, numbers.Integral) or batch_size < 1:
        raise InputError(f"Received batch_size={batch_size!r}; expected an integer of 1 or more.")


def filled_up(rows: list, size: int) -> list:
    """A list filled up to `size` with its first entry: another size is another compilation.

    Example:
        >>> filled_up([4, 7], 3)
        [4, 7, 4]

    Source: ours.
    """
    return rows + rows[:1] * (size - len(rows))
