"""Any source of training data, preprocessed for a task.

keras-hub's `Task.fit` takes arrays, tf.data and grain, but fails with a `PyDataset` or a torch
`DataLoader`. Here the preprocessing is attached to each kind of source in its own way, and
`keras.Model.fit` gets the result.
"""

import concurrent.futures
import copy
import math
import threading

import keras
import numpy as np
from PIL import Image

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.arrays import as_array
from keras_espmedsam.imaging.host_call import as_tuple, rank
from keras_espmedsam.imaging.raw_batch import BATCH_IT, array_rows, batch_parts, chosen_rows
from keras_espmedsam.inference.image_batches import check_batch_size


def preprocessed(
    task,
    x,
    y=None,
    sample_weight=None,
    batch_size=None,
    shuffle=False,
    split=0.0,
    class_weight=None,
    needs_targets=False,
):
    """Attach a task's preprocessing to a source.

    Args:
        task: a keras-hub `Task` with `prepare_batch`; see `trains_on_raw_images`.
        x: raw images, or a dict of them; or tf.data, grain, a `PyDataset`, torch `DataLoader` or
            Python generator of batches of them.
        y, sample_weight: of all images, if `x` is images.
        batch_size: int or None; for images, 32 by default.
        shuffle: bool. Shuffle images each epoch.
        split: float. Last fraction of the images to hold out.
        class_weight: dict or None, see `prepare_batch`; not applied to held-out images.
        needs_targets: bool. Whether to reject images without targets.

    Returns:
        Tuple of the source for Keras and the held-out source (or `None`).

    Raises:
        InputError: for another source, and for targets or weights that do not fit.
    """
    if x is None:
        raise InputError("Received no data; give images and their targets, or a data source.")
    needs_targets = needs_targets and task.preprocessor is not None
    if not _holds_images(x):
        source = _from_source(task, x, class_weight, needs_targets)
        if y is not None or sample_weight is not None:
            raise InputError(
                f"Received y or sample_weight together with a {type(x).__name__}; a data source "
                "yields them itself as (x, y) or (x, y, sample_weight)."
            )
        if split:
            raise InputError(
                f"Received validation_split={split} with a {type(x).__name__}; it needs arrays. "
                "Give validation_data instead."
            )
        return source, None
    if needs_targets and y is None:
        raise InputError("Received images without targets (y); give one for each image.")
    if batch_size is not None:
        check_batch_size(batch_size)
    arrays = ArrayDataset(task, x, y, sample_weight, batch_size or 32, shuffle, class_weight)
    if not split:
        return arrays, None
    return arrays.split(split)


def _holds_images(x):
    """Whether `x` is images, not a source of batches."""
    return isinstance(x, dict | list | tuple | str | bytes | Image.Image) or hasattr(x, "shape")


def _from_source(task, source, class_weight, needs_targets):
    def prepare(*batch):
        """Return a tuple even for images without targets: Keras' loaders would vary the structure.

        TensorFlow and JAX compile a new program for each structure.
        """
        batch = batch[0] if len(batch) == 1 and isinstance(batch[0], tuple | list) else batch
        x, y, sample_weight = batch_parts(batch)
        if needs_targets and y is None:
            raise InputError(
                "Received a data source of images without targets; expected (images, targets)."
            )
        return as_tuple(task.prepare_batch(x, y, sample_weight, class_weight))

    if isinstance(source, keras.utils.PyDataset):
        return MappedPyDataset(source, prepare)
    module = type(source).__module__.split(".")[0]
    if module == "tensorflow" and hasattr(source, "map"):
        return _from_tf_data(source, prepare)
    if _is_a("grain", "MapDataset", source) or _is_a("grain", "IterDataset", source):
        return source.map(prepare)
    if _is_a("torch", "DataLoader", source):
        return _from_data_loader(source, prepare)
    if hasattr(source, "__next__"):
        return _from_iterator(source, prepare)
    raise InputError(
        f"Received data of type {type(source).__module__}.{type(source).__name__}; expected "
        "images, a tf.data.Dataset, a grain MapDataset or IterDataset, a keras.utils.PyDataset, "
        "a torch DataLoader or a Python generator of batches."
    )


def _is_a(package, name, source):
    """Whether it is an instance of a class of a package that is not imported here."""
    return any(
        base.__name__ == name and base.__module__.split(".")[0] == package
        for base in type(source).__mro__
    )


def _from_tf_data(dataset, prepare):
    import tensorflow as tf

    # Checked before tracing, where TensorFlow would report it in terms of generated code.
    images = batch_parts(dataset.element_spec)[0]
    images = images.get("images") if isinstance(images, dict) else images
    if isinstance(images, tf.RaggedTensorSpec):
        raise InputError(
            "Received a tf.data source of ragged batches; batch images of one size, or give fit() "
            "a list of images or a Python generator of lists of them."
        )
    if isinstance(images, tf.TensorSpec) and rank(images) < 4:
        raise InputError(
            f"Received a tf.data source of images of shape {tuple(images.shape)}; {BATCH_IT}."
        )

    @tf.autograph.experimental.do_not_convert
    def traced(*batch):
        return prepare(*batch)

    return dataset.map(traced, num_parallel_calls=tf.data.AUTOTUNE)


def _from_data_loader(loader, prepare):
    """Return the user's own loader with all its options, preparing each batch.

    The result is a copy of a class derived from the loader's, since Keras recognises a DataLoader
    by its class. The workers run unchanged; preprocessing runs in the main process, so that no
    backend with threads of its own is forked.
    """
    import torch

    class PreparedLoader(type(loader)):
        def __iter__(self):
            batches = (
                _in_thread_of_python(super().__iter__) if self.num_workers else super().__iter__()
            )
            for batch in _collated(batches):
                yield keras.tree.map_structure(torch.as_tensor, prepare(batch))

    prepared = copy.copy(loader)
    prepared.__class__ = PreparedLoader
    return prepared


def _in_thread_of_python(function):
    """Run a function in a thread started by Python and return its result.

    TensorFlow reads a source in a thread of its own. A worker forked there fails when it exits
    (`threading` has no lock for such a thread), and if torch's SIGCHLD handler sees that before
    the worker is joined, it stops the training.
    """
    if threading.current_thread() is threading.main_thread():
        return function()
    result = concurrent.futures.Future()

    def run():
        try:
            result.set_result(function())
        except BaseException as error:
            result.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result.result()


def _collated(batches):
    """Yield a loader's batches; turn torch's collation errors into one sentence."""
    try:
        yield from batches
    except (TypeError, RuntimeError) as error:
        if "default_collate" not in str(error) and "stack expects each tensor" not in str(error):
            raise
        raise InputError(
            "Received a DataLoader whose samples make no batch of tensors, such as Pillow images "
            "or images of several sizes; have it collate them to lists: "
            "collate_fn=lambda batch: tuple(map(list, zip(*batch)))."
        ) from error


def _from_iterator(batches, prepare):
    """Wrap batches of tuples in a generator, the only iterator that Keras takes."""
    empty = True
    for batch in batches:
        empty = False
        yield prepare(batch)
    if empty:
        raise InputError("Received a generator that yields nothing; expected batches.")


def one_batch_at_once(data):
    """Return images that fit one batch as a cheap source; any other source unchanged.

    On TensorFlow, Keras makes a tf.data pipeline of every other source, for which TensorFlow
    traces four functions in each call and prepares the first batch twice. For one small image
    that takes twice as long as the model.

    Args:
        data: a source from `preprocessed`.

    Returns:
        A source that `keras.Model.predict` takes.
    """
    several = not isinstance(data, ArrayDataset) or data.num_batches != 1
    if keras.backend.backend() != "tensorflow" or several:
        return data
    import tensorflow as tf

    return tf.data.Dataset.from_tensors(data[0])


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
        return self.function(self.source[index])

    def on_epoch_begin(self):
        self.source.on_epoch_begin()

    def on_epoch_end(self):
        self.source.on_epoch_end()


class ArrayDataset(keras.utils.PyDataset):
    """Raw images, preprocessed batch by batch so that only one batch is held as floats."""

    def __init__(
        self, task, x, y=None, sample_weight=None, batch_size=32, shuffle=False, class_weight=None
    ):
        super().__init__()
        self.task = task
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.class_weight = class_weight
        if task.preprocessor is None:
            # Any model inputs, whatever their names and shapes.
            self.x, self.y, self.sample_weight, count = _ready_rows(x, y, sample_weight)
        else:
            self.x, self.y, self.sample_weight, count = array_rows(
                x, y, sample_weight, task.raw_inputs
            )
            task.check_arrays(self.x, self.y)
        self.order = np.arange(count)

    def split(self, fraction):
        """Return the first part and the last `fraction`, the latter unshuffled and unweighted."""
        count = len(self.order)
        cut = math.floor(count * (1 - fraction))
        if not 0 < cut < count:
            raise InputError(
                f"Received validation_split={fraction} for {count} images, which leaves one side "
                "empty; give a fraction between 0 and 1 or more images."
            )
        first, last = copy.copy(self), copy.copy(self)
        first.order, last.order = self.order[:cut], self.order[cut:]
        last.shuffle, last.class_weight = False, None
        return first, last

    @property
    def num_batches(self):
        return math.ceil(len(self.order) / self.batch_size)

    def __getitem__(self, index):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        x, y, sample_weight = (_chosen(part, rows) for part in (self.x, self.y, self.sample_weight))
        # A tuple, as in `_from_source`.
        return as_tuple(self.task.prepare_batch(x, y, sample_weight, self.class_weight))

    def on_epoch_begin(self):
        if self.shuffle:
            # NumPy's global generator, which keras.utils.set_random_seed seeds.
            np.random.shuffle(self.order)


def _chosen(part, rows):
    if part is None:
        return None
    if isinstance(part, dict):
        return {name: chosen_rows(value, rows) for name, value in part.items()}
    return chosen_rows(part, rows)


def _ready_rows(x, y, sample_weight):
    def to_rows(part):
        if isinstance(part, dict):
            return {name: to_rows(value) for name, value in part.items()}
        return None if part is None else as_array(part)

    x, y, sample_weight = (to_rows(part) for part in (x, y, sample_weight))
    arrays = keras.tree.flatten([x, y, sample_weight])
    lengths = {len(array) if array.ndim else 0 for array in arrays if array is not None}
    if len(lengths) != 1 or 0 in lengths:
        raise InputError(
            f"Received arrays of lengths {sorted(lengths)}; expected as many images, modalities, "
            "targets and sample weights, and at least one."
        )
    return x, y, sample_weight, lengths.pop()
