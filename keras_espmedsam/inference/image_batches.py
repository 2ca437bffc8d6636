"""Group images of different sizes into batches of one size."""

import numbers
from collections.abc import Iterator, Sequence
from typing import Any

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.raw_batch import Rows, height_and_width, read_row


def image_batches(
    converters: Sequence[Any], images: Rows, batch_size: int
) -> Iterator[tuple[list[int], int]]:
    """Group images whose canvases have the same size.

    Args:
        converters: the `HostImageConverter` of each image.
        images: list or array of images in any form that `to_rgb` accepts.
        batch_size: int. The most images in a batch.

    Yields:
        Tuple of the images' indices and the size that the batch must be filled up to.

    Raises:
        InputError: for an entry that is not an image.
    """
    by_canvas: dict[tuple[Any, tuple[int, int]], list[int]] = {}
    for i, (image, converter) in enumerate(zip(images, converters, strict=True)):
        size = height_and_width(image)
        if size is None:
            read_row(converter, images, i)  # Raises the right error.
        # Converters of several sizes may give equal canvases, but place an image differently.
        canvas = converter.image_size, converter.place(size).canvas
        by_canvas.setdefault(canvas, []).append(i)
    for members in by_canvas.values():
        for start in range(0, len(members), batch_size):
            yield members[start : start + batch_size], min(batch_size, len(members))


def check_batch_size(batch_size: Any) -> None:
    """Check that a batch size is an integer of 1 or more.

    Raises:
        InputError: if it is not.
    """
    if not isinstance(batch_size, numbers.Integral) or batch_size < 1:
        raise InputError(f"Received batch_size={batch_size!r}; expected an integer of 1 or more.")


def filled_up(rows: list, size: int) -> list:
    """Fill a list up to `size` with its first entry, because a new size is compiled again.

    Example:
        >>> filled_up([4, 7], 3)
        [4, 7, 4]
    """
    return rows + rows[:1] * (size - len(rows))
