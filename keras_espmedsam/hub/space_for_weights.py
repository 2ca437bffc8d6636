"""Check that there is room for a weights file, before HDF5 starts to write it."""

import math
import os
from typing import TYPE_CHECKING

from keras_espmedsam._files import check_space

if TYPE_CHECKING:
    import keras

# The most bytes of overhead that HDF5 writes for an array or a group.
_AROUND = 4096
# The most bytes of a number.
_BYTES = 4


def check_space_for_weights(model: "keras.Model", folder: str | os.PathLike) -> None:
    """Check that a model's weights can be written to a folder.

    On a full disk HDF5 cannot close its file, and the program ends without a message.

    Args:
        model: `keras.Model`, built.
        folder: path of an existing folder.

    Raises:
        OSError: when there is not enough room, or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> check_space_for_weights(model, tempfile.mkdtemp())
    """
    # Each layer and each of its parts is a group: a few groups per array.
    numbers = sum(math.prod(variable.shape) for variable in model.variables)
    around = _AROUND * (16 + 3 * len(model.variables))
    check_space(folder, _BYTES * numbers + around)
