"""Any source of training data, preprocessed for a task.

keras-hub's `Task.fit` takes arrays, tf.data and grain; a `PyDataset` or a torch `DataLoader` fails
there. Here the preprocessing is attached to each kind of source in its own way, and
`keras.Model.fit` gets the result.
"""

import copy
import math

import keras
import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.models.host_call import as_tuple, to_numpy


def preprocessed(task, x, y=None, sample_weight=None, batch_size=None, shuffle=False, split=0.0):
    """Attach a task's preprocessing to a source.

    Args:
        task: a keras-hub `Task` with `prepare_batch`; see `trains_on_raw_pictures`.
        x: dict or array of raw images, tf.data, grain, `PyDataset` or torch `DataLoader`.
        y, sample_weight: arrays, for arrays.
        batch_size: int or None; for arrays, 32 by default.
        shuffle: bool. Shuffle arrays each epoch.
        split: float. Last fraction of the arrays that is held out.

    Returns:
        Tuple of the source for Keras and the held-out source (or `None`).
    """
    if x is None:
        raise InputError("Received no data; give images and their targets, or a data source.")
    if not isinstance(x, dict) and not hasattr(x, "shape"):
        if y is not None or sample_weight is not None:
            raise InputError(
                f"Received y or sample_weight beside a {type(x).__name__}; a data source yields "
                "them itself as (x, y) or (x, y, sample_weight)."
            )
        if split:
            raise InputError(
                f"Received validation_split={split} with a {type(x).__name__}; it needs arrays. "
                "Give validation_data instead."
            )
        return _from_source(task, x), None
    arrays = ArrayDataset(task, x, y, sample_weight, batch_size or 32, shuffle)
    if not split:
        return arrays, None
    return arrays.split(split)


def _from_source(task, source):
    def prepare(*batch):
        batch = batch[0] if len(batch) == 1 and isinstance(batch[0], tuple | list) else batch
        x, y, sample_weight = (*batch, None, None)[:3]
        return task.prepare_batch(x, y, sample_weight)

    if isinstance(source, keras.utils.PyDataset):
        return MappedPyDataset(source, prepare)
    module = type(source).__module__.split(".")[0]
    if module == "tensorflow":
        import tensorflow as tf

        return source.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    if module == "grain" and hasattr(source, "map"):
        return source.map(prepare)
    if any(base.__module__.startswith("torch.utils.data") for base in type(source).__mro__):
        return _from_data_loader(source, prepare)
    raise InputError(
        f"Received data of type {type(source).__module__}.{type(source).__name__}; expected "
        "arrays, a tf.data.Dataset, a grain MapDataset or IterDataset, a keras.utils.PyDataset or "
        "a torch DataLoader."
    )


def _from_data_loader(loader, prepare):
    """The user's own loader, all its options kept, whose batches are prepared as they come out.

    A copy of a class derived from the loader's, since Keras knows a DataLoader by its class. The
    workers do what they did; the preprocessing runs in the main process, where no backend that
    has threads of its own is forked.
    """
    import torch

    class PreparedLoader(type(loader)):
        def __iter__(self):
            for batch in super().__iter__():
                ready = prepare(batch)
                # Keras on TensorFlow takes tuples from a loader, not the dict by itself.
                yield keras.tree.map_structure(torch.as_tensor, as_tuple(ready))

    prepared = copy.copy(loader)
    prepared.__class__ = PreparedLoader
    return prepared


class MappedPyDataset(keras.utils.PyDataset):
    """A `PyDataset` whose batches go through a function."""

    def __init__(self, source, function):
        super().__init__(
            workers=source.workers,
            use_multiprocessing=source.use_multiprocessing,
            max_queue_size=source.max_queue_size,
        )
        self.source = source
        self.function = function

    @property
    def num_batches(self):
        return self.source.num_batches

    def __getitem__(self, index):
        batch = self.source[index]
        return self.function(*batch) if isinstance(batch, tuple | list) else self.function(batch)

    def on_epoch_begin(self):
        self.source.on_epoch_begin()

    def on_epoch_end(self):
        self.source.on_epoch_end()


class ArrayDataset(keras.utils.PyDataset):
    """Raw arrays, preprocessed batch by batch so that only one batch is held as floats."""

    def __init__(self, task, x, y=None, sample_weight=None, batch_size=32, shuffle=False):
        super().__init__()
        self.task = task
        if isinstance(x, dict):
            # A list of names or numbers is one array, not a structure of many.
            x = {k: np.asarray(v) if isinstance(v, tuple | list) else v for k, v in x.items()}
        if isinstance(y, tuple | list):
            y = np.asarray(y)
        self.x, self.y, self.sample_weight = keras.tree.map_structure(
            lambda a: None if a is None else to_numpy(a), (x, y, sample_weight)
        )
        self.batch_size = batch_size
        self.shuffle = shuffle
        arrays = keras.tree.flatten([self.x, self.y, self.sample_weight])
        lengths = {len(array) for array in arrays if array is not None}
        if len(lengths) != 1 or 0 in lengths:
            raise InputError(
                f"Received arrays of lengths {sorted(lengths)}; expected as many images, "
                "modalities, targets and sample weights, and at least one."
            )
        self.order = np.arange(lengths.pop())

    def split(self, fraction):
        """Two data sets: the first part, and the last `fraction` unshuffled."""
        count = len(self.order)
        cut = math.floor(count * (1 - fraction))
        if not 0 < cut < count:
            raise InputError(
                f"Received validation_split={fraction} for {count} images, which leaves one side "
                "empty; give a fraction between 0 and 1 or more images."
            )
        parts = []
        for chosen, shuffle in ((slice(0, cut), self.shuffle), (slice(cut, None), False)):
            part = ArrayDataset(
                self.task, self.x, self.y, self.sample_weight, self.batch_size, shuffle
            )
            part.order = part.order[chosen]
            parts.append(part)
        return tuple(parts)

    @property
    def num_batches(self):
        return math.ceil(len(self.order) / self.batch_size)

    def __getitem__(self, index):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        x, y, sample_weight = keras.tree.map_structure(
            lambda a: None if a is None else a[rows], (self.x, self.y, self.sample_weight)
        )
        return self.task.prepare_batch(x, y, sample_weight)

    def on_epoch_begin(self):
        if self.shuffle:
            # NumPy's global generator, which keras.utils.set_random_seed seeds.
            np.random.shuffle(self.order)
