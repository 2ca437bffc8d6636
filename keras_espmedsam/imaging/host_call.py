"""Run a NumPy function, also inside a tf.data graph.

This is the only place in preprocessing that depends on a backend: tf.data traces functions with
symbolic tensors on every Keras backend, and only `tf.numpy_function` can leave the graph.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from PIL import Image

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.arrays import as_array


def host_call(
    function: Callable, inputs: Sequence[Any], outputs: Sequence[tuple[Any, tuple]]
) -> tuple:
    """Call `function(*arrays)`; return NumPy arrays, or tensors inside a graph.

    Args:
        function: maps NumPy arrays (or lists and Pillow images, unchanged) to an array or a tuple
            of arrays.
        inputs: tuple of arrays, backend tensors, symbolic TensorFlow tensors, lists or images.
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


@contextlib.contextmanager
def plain_refusals() -> Iterator[None]:
    """Unwrap an `InputError` that was raised while data were read.

    TensorFlow, and torch in its workers, wrap such an error in one of their own whose text is the
    whole traceback.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        sentence = re.search(r"\bInputError: (.+)", str(error))
        if sentence is None:
            raise
        raise InputError(sentence[1].strip()) from None


def rank(x: Any) -> int:
    """Return the number of axes of an array, tensor, image, or list of these.

    Raises:
        InputError: for a tensor of unknown rank from tf.data.
    """
    if isinstance(x, Image.Image):
        return 2
    if isinstance(x, list | tuple):
        return 1 + max((rank(one) for one in x), default=0)
    shape = getattr(x, "shape", ())
    if getattr(shape, "rank", 0) is None:
        raise InputError(
            "Received tensors of unknown rank from tf.data; give the source an output_signature "
            "with all axes, such as (batch, height, width, channels), with None for unknown sizes."
        )
    return len(shape)


def to_numpy(x: Any) -> Any:
    """Convert an array or tensor on any device to NumPy; lists, names and images are unchanged."""
    return x if isinstance(x, list | tuple | str | bytes | Image.Image) else as_array(x)


def as_tuple(x: Any) -> tuple:
    """Return a tuple unchanged, and anything else as a tuple of one."""
    return x if isinstance(x, tuple) else (x,)


def _is_symbolic(x):
    return type(x).__module__.startswith("tensorflow.") and not hasattr(x, "numpy")
