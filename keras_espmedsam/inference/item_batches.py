"""Batches of images that are small enough to be held at a time."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

# A batch ends early when its images are large: what is held at a time stays below some GB.
BATCH_PIXELS = 64_000_000


def batches(
    items: Iterable[Any], batch_size: int, size: Callable[[Any], tuple[int, int]]
) -> Iterator[list[Any]]:
    """Collect items until there are `batch_size` of them, or many pixels.

    Args:
        items: what holds one image each.
        batch_size: the most of them.
        size: height and width of an item's image.

    Example:
        >>> list(batches([1, 2, 3], 2, lambda item: (1, 1)))
        [[1, 2], [3]]

    Source: ours.
    """
    batch, pixels = [], 0
    for item in items:
        batch.append(item)
        height, width = size(item)
        pixels += height * width
        if len(batch) == batch_size or pixels >= BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch
