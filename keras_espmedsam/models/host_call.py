"""Run a NumPy function, also from inside a tf.data graph.

This is the one place of the preprocessing that knows a backend: tf.data traces its functions
with symbolic tensors on every Keras backend, and only `tf.numpy_function` reaches the host from
there.
"""

import numpy as np

from keras_espmedsam.errors import InputError


def host_call(function, inputs, outputs):
    """Call `function(*arrays)` and give its results as NumPy arrays, or tensors in a graph.

    Args:
        function: NumPy arrays to an array, or a tuple of them.
        inputs: tuple of arrays, backend tensors, or symbolic TensorFlow tensors.
        outputs: tuple of (dtype, shape) of each result, with `None` for unknown sizes.

    Returns:
        Tuple of results.
    """
    if any(_is_symbolic(x) for x in inputs):
        import tensorflow as tf

        results = tf.numpy_function(
            lambda *arrays: as_tuple(function(*arrays)),
            inputs,
            [tf.as_dtype(dtype) for dtype, _ in outputs],
            stateful=False,
        )
        results = as_tuple(results if not isinstance(results, list) else tuple(results))
        return tuple(
            tf.ensure_shape(result, shape)
            for result, (_, shape) in zip(results, outputs, strict=True)
        )
    return as_tuple(function(*(to_numpy(x) for x in inputs)))


def rank(x):
    """The number of axes of an array or tensor; refused where a tf.data source does not say it."""
    shape = x.shape
    if getattr(shape, "rank", 0) is None:
        raise InputError(
            "Received tensors of unknown rank from tf.data; give the source an output_signature "
            "with all axes, such as (batch, height, width, channels), unknown sizes as None."
        )
    return len(shape)


def to_numpy(x):
    """A NumPy array of anything array-like, torch tensors on any device included."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
    return np.asarray(x)


def as_tuple(x):
    """A tuple as it is, anything else as a tuple of one."""
    return x if isinstance(x, tuple) else (x,)


def _is_symbolic(x):
    return type(x).__module__.startswith("tensorflow.") and not hasattr(x, "numpy")
