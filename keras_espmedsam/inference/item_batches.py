"""Batches of images that are small enough to be held at a time."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

# A batch ends early when its images are large: what is held at a time stays below some GB.
BATCH_PIXELS = 64_000_000


def batches(
    items: Iterable[Any], batch_size: int, size: Callable[[Any], tuple[int, int] | None]
) -> Iterator[list[Any]]:
    """Collect items until there are `batch_size` images among them, or many pixels.

    Args:
        items: what holds one image each, or none.
        batch_size: the most images.
        size: height and width of an item's image; None where it holds none. Such an item keeps its
            place in the order, takes none in a batch, and is never waited with. What was collected
        before `items` raises is given first.

    Example:
        >>> list(batches([1, 2, 3], 2, lambda item: (1, 1)))
        [[1, 2], [3]]
        >>> list(batches([1, 0, 2, 0], 2, lambda item: (1, 1) if item else None))
        [[1, 0, 2], [0]]

    Source: ours.
    """
    batch, count, pixels = [], 0, 0
    try:
        for item in items:
            batch.append(item)
            found = size(item)
            if found is not None:
                count += 1
                pixels += found[0] * found[1]
            if not count or count == batch_size or pixels >= BATCH_PIXELS:
                yield batch
                batch, count, pixels = [], 0, 0
    except Exception:
        if batch:
            yield batch
        raise
    if batch:
        yield batch
