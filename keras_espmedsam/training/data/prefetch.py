"""Prepare batches in workers ahead of time.

Keras' own workers cannot be used: before the first epoch `fit` takes a batch to build the model,
and other batches that its workers have drawn by then, some number of them and of another epoch, are
handed out in the following epochs. Here each batch carries the number of its epoch.
"""

import concurrent.futures
import multiprocessing
import threading
import weakref
from collections.abc import Callable

from keras_espmedsam.errors import InputError


class Prefetch:
    """Call a function for upcoming batches, in threads or processes.

    Args:
        get_batch: called with an epoch and a batch's number. It is sent to each process once, so
            it must be picklable.
        workers: int. With one thread nothing is prepared ahead.
        max_queue_size: int. Largest number of batches waiting.
        use_multiprocessing: bool. Processes instead of threads, for code that holds Python's lock.

    Call: `prefetch(epoch, index, count)` returns `get_batch(epoch, index)` and starts preparing the
    next batches, up to `count`.

    Raises:
        InputError: if processes cannot be started.

    Example:
        >>> prefetch = Prefetch(lambda epoch, index: (epoch, index), workers=2, max_queue_size=3)
        >>> [prefetch(7, index, 4) for index in range(4)]
        [(7, 0), (7, 1), (7, 2), (7, 3)]
    """

    def __init__(self, get_batch, workers=1, max_queue_size=10, use_multiprocessing=False):
        self.get_batch = get_batch
        self.workers = workers
        self.max_queue_size = max_queue_size
        self.use_multiprocessing = use_multiprocessing
        self._start()

    def _start(self):
        self._waiting = {}
        self._lock = threading.Lock()
        self._pool = None

    def __getstate__(self):
        hidden = ("_waiting", "_lock", "_pool")
        return {key: value for key, value in vars(self).items() if key not in hidden}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._start()

    def __call__(self, epoch, index, count):
        if self.workers <= 1 and not self.use_multiprocessing:
            return self.get_batch(epoch, index)
        with self._lock:
            batch = self._waiting.pop((epoch, index), None) or self._submit(epoch, index)
            wanted = [
                (epoch, i) for i in range(index + 1, min(index + 1 + self.max_queue_size, count))
            ]
            # Batches of another epoch, and skipped ones, will not be requested.
            for key in [key for key in self._waiting if key not in wanted]:
                self._waiting.pop(key).cancel()
            for key in wanted:
                if key not in self._waiting:
                    self._waiting[key] = self._submit(*key)
        try:
            return batch.result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise InputError(
                "The worker processes ended before they gave a batch; give "
                "use_multiprocessing=False, or put the script's code under "
                "`if __name__ == '__main__':`, since each process reads the script again."
            ) from error

    def _submit(self, *key):
        if self._pool is None:
            self._pool = self._new_pool()
            weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)
        return (
            self._pool.submit(_get_batch, *key)
            if self.use_multiprocessing
            else self._pool.submit(self.get_batch, *key)
        )

    def _new_pool(self):
        if not self.use_multiprocessing:
            return concurrent.futures.ThreadPoolExecutor(self.workers)
        # Spawned: a backend with threads of its own must not be forked.
        return concurrent.futures.ProcessPoolExecutor(
            max(self.workers, 1),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_receive,
            initargs=(self.get_batch,),
        )


_received: Callable | None = None


def _receive(get_batch):
    global _received
    _received = get_batch


def _get_batch(epoch, index):
    assert _received is not None  # Set by the pool's initializer.
    return _received(epoch, index)
