"""Batches for several devices: one process's part of each, or whole ones of any size."""

import keras
import numpy as np

from keras_espmedsam.errors import InputError


class _Source(keras.utils.PyDataset):
    """Takes its batches from another `PyDataset`, epoch by epoch."""

    def __init__(self, source):
        super().__init__(
            workers=source.workers,
            use_multiprocessing=source.use_multiprocessing,
            max_queue_size=source.max_queue_size,
        )
        self.source = source

    @property
    def num_batches(self):
        return self.source.num_batches

    def on_epoch_begin(self):
        self.source.on_epoch_begin()

    def on_epoch_end(self):
        self.source.on_epoch_end()


class ShardedBatches(_Source):
    """One process's part of the batches of a source.

    Args:
        source: `keras.utils.PyDataset`, giving the same batches in each process.
        count: int. Number of devices that share a batch.
        rank, processes: int. Number of this process, and how many there are.

    Raises:
        InputError: for a batch that `count` devices cannot share evenly, since the mean over their
            losses and gradients would then not be that of the batch.

    Example:
        >>> class Whole(keras.utils.PyDataset):
        ...     num_batches = 1
        ...     def __getitem__(self, index):
        ...         return np.arange(8)
        >>> ShardedBatches(Whole(), count=2, rank=1, processes=2)[0].tolist()
        [4, 5, 6, 7]
    """

    def __init__(self, source, count, rank=0, processes=1):
        super().__init__(source)
        self.count = count
        self.rank = rank
        self.processes = processes

    def __getitem__(self, index):
        return keras.tree.map_structure(self._part, self.source[index])

    def _part(self, array):
        if len(array) % self.count:
            raise InputError(
                f"Received a batch of {len(array)} samples for {self.count} devices; give batch "
                f"sizes that are multiples of {self.count}, and leave an incomplete last batch out."
            )
        size = len(array) // self.processes
        return array[self.rank * size : (self.rank + 1) * size]


class ReplicatedBatches(_Source):
    """Every batch of a source repeated for each device, so that each gets all of it.

    TensorFlow splits batches itself. A batch with fewer samples than devices leaves some with none,
    on which its CPU convolutions may fail. Means over a repeated batch equal the source's.

    Args:
        source: `keras.utils.PyDataset`.
        count: int. Number of devices.
    """

    def __init__(self, source, count):
        super().__init__(source)
        self.count = count

    def __getitem__(self, index):
        return keras.tree.map_structure(
            lambda array: np.concatenate([array] * self.count), self.source[index]
        )


class IndivisibleFirst(_Source):
    """The samples of a source, rebatched so that the first batch cannot be shared evenly.

    Keras on JAX lays out all batches of a source like the first. If that cannot be shared, each
    device computes the whole of each batch (see `Replicated`), whatever the size of the last.

    Args:
        source: `keras.utils.PyDataset`.
        count: int. Number of devices.
    """

    def __init__(self, source, count):
        super().__init__(source)
        first = keras.tree.flatten(source[0])[0]
        # One sample of the first batch becomes a batch of its own, at the end.
        self.moved = len(first) % count == 0

    @property
    def num_batches(self):
        return self.source.num_batches + self.moved

    def __getitem__(self, index):
        if not self.moved:
            return self.source[index]
        last = index == self.source.num_batches
        batch = self.source[0 if last else index]
        if index and not last:
            return batch
        rows = slice(-1, None) if last else slice(-1)
        return keras.tree.map_structure(lambda array: array[rows], batch)
