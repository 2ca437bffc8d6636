"""Model calls of many requests, in batches and one at a time."""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any

Run = Callable[[list[Any]], Sequence[Any]]
Observe = Callable[[Hashable, int, float], None]


class BatchQueue:
    """A thread that makes all model calls, because Keras may not be called by two at once.

    Items of the same key and shape share a call, whoever asked for them. The number of items of
    a call is a power of two, so that few sizes are compiled (JAX compiles each one).

    Args:
        batch_size: the most items of a call.
        batch_wait: seconds that an item waits for others.
        observe: called after each call with the key, the number of items and the seconds.

    Example:
        >>> queue = BatchQueue(batch_size=4, batch_wait=0)
        >>> queue.call("double", lambda items: [2 * one for one in items], [1, 2, 3])
        [2, 4, 6]
        >>> queue.close()
    """

    def __init__(
        self, batch_size: int = 8, batch_wait: float = 0.005, observe: Observe | None = None
    ):
        self.batch_size = batch_size
        self.batch_wait = batch_wait
        self._observe = observe
        self._waiting: list[_Item] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="espmedsam-model", daemon=True)
        self._thread.start()

    @property
    def sizes(self) -> list[int]:
        """The numbers of items that a call may have."""
        return [1 << power for power in range(self.batch_size.bit_length())]

    def call(
        self,
        key: Hashable,
        run: Run,
        items: Sequence[Any],
        deadline: float | None = None,
        shape: Callable[[Any], Hashable] = lambda item: None,
    ) -> list[Any]:
        """Have items computed, and wait for the results.

        Args:
            key: items of equal keys may share a call; their `run` must do the same.
            run: returns a result for each item of a list. If it fails for several items, it is
                called for each of them, so that one cannot spoil the others.
            items: the items.
            deadline: `time.monotonic()` after which the results are of no use; None for never.
            shape: returns the shape of an item; those of another one do not share its call.

        Returns:
            A result for each item.

        Raises:
            TimeoutError: when the deadline has passed. What has not begun is then left out.
            RuntimeError: when the queue is closed.
            Exception: what `run` raised for the first item that failed.
        """
        added = [_Item(key, shape(one), run, one) for one in items]
        with self._changed:
            if self._closed:
                raise RuntimeError("The queue is closed; no more model calls are made.")
            self._waiting += added
            self._changed.notify_all()
        try:
            return [one.future.result(_left(deadline)) for one in added]
        finally:
            for one in added:  # Without effect on those that are done.
                one.future.cancel()

    def close(self) -> None:
        """Finish what is waiting, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self):
        while batch := self._next():
            self._compute(batch)
            del batch  # Or the last images would stay in memory until the next ones.

    def _next(self):
        """Wait for the items of the next call; empty when the queue is closed."""
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return []
                first = self._waiting[0]
                until = first.arrived + self.batch_wait
                while not self._closed and len(self._like(first)) < self.batch_size:
                    left = until - time.monotonic()
                    if left <= 0:
                        break
                    self._changed.wait(left)
                self._waiting = [one for one in self._waiting if not one.future.cancelled()]
                if first.future.cancelled():
                    continue
                batch = self._like(first)[: self.batch_size]
                batch = batch[: 1 << (len(batch).bit_length() - 1)]
                taken = set(map(id, batch))
                self._waiting = [one for one in self._waiting if id(one) not in taken]
            batch = [one for one in batch if one.future.set_running_or_notify_cancel()]
            if batch:
                return batch

    def _like(self, first):
        return [one for one in self._waiting if one.group == first.group]

    def _compute(self, batch):
        began = time.monotonic()
        try:
            results = batch[0].run([one.item for one in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(batch)} items have {len(results)} results.")
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
            else:
                for one in batch:
                    self._compute([one])
            return
        if self._observe is not None:
            self._observe(batch[0].key, len(batch), time.monotonic() - began)
        for one, result in zip(batch, results, strict=True):
            one.future.set_result(result)


class _Item:
    def __init__(self, key, shape, run, item):
        self.key = key
        self.group = key, shape
        self.run = run
        self.item = item
        self.arrived = time.monotonic()
        self.future: Future = Future()


def _left(deadline):
    return None if deadline is None else max(0.0, deadline - time.monotonic())
