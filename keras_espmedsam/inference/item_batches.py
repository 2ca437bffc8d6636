"""Collect images in batches that fit in memory."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

# A batch of large images ends early, so that memory use stays below some GB.
BATCH_PIXELS = 64_000_000


def batches(
    items: Iterable[Any], batch_size: int, size: Callable[[Any], tuple[int, int] | None]
) -> Iterator[list[Any]]:
    """Collect items until there are `batch_size` images among them, or many pixels.

    Args:
        items: items with one image each, or none.
        batch_size: the most images in a batch.
        size: returns height and width of an item's image, or None if it has none. Such an item
            keeps its place in the order, does not count, and is passed on without waiting.

    Yields:
        Lists of items. If `items` raises, what was collected before is yielded first.

    Example:
        >>> list(batches([1, 2, 3], 2, lambda item: (1, 1)))
        [[1, 2], [3]]
        >>> list(batches([1, 0, 2, 0], 2, lambda item: (1, 1) if item else None))
        [[1, 0, 2], [0]]
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
