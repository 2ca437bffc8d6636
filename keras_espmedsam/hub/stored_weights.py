"""What the files of a preset's weights hold, before and after a model has taken it.

The network is described in one file and its weights are in another, either of which may be
damaged, exchanged or made to harm.
"""

import math
import os
import pathlib
from typing import Any, NamedTuple

from keras_espmedsam._shown import shown
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.finite import all_finite

# How often HDF5's compression may make numbers smaller, and what is nothing to any machine. Keras
# compresses no weights, and trained ones do not become much smaller.
_MAX_COMPRESSION = 20
_SMALL = 64 * 2**20
_BACKBONE = "model.weights"


class StoredWeights(NamedTuple):
    """How many arrays a backbone's files hold, and numbers in them."""

    arrays: int
    numbers: int


def stored_weights(folder: str | os.PathLike) -> StoredWeights:
    """Count what the files of a backbone's weights hold, and check all; no number is read.

    Args:
        folder: path of the preset.

    Returns:
        `StoredWeights`; of no files, none.

    Raises:
        InputError: for a file that is damaged, leads outside of itself, or would become much
            greater than it is when it is read.

    Example:
        >>> stored_weights(kem.hub.built_in_presets.presets_dir() / "espmedsam_nano_256")
        StoredWeights(arrays=726, numbers=4180653)

    Source: ours.
    """
    arrays = numbers = 0
    for path in _files(folder):
        held = _arrays(path)
        stored, size = sum(count * width for count, width in held), path.stat().st_size
        if stored > _MAX_COMPRESSION * size + _SMALL:
            raise _damaged(path, f"{stored:,} bytes are said to lie in {size:,}")
        if path.name.startswith(_BACKBONE):
            arrays += len(held)
            numbers += sum(count for count, _ in held)
    return StoredWeights(arrays, numbers)


def most_numbers(folder: str | os.PathLike) -> int:
    """More numbers than any network can have that was saved with the weights of a preset.

    Args:
        folder: path of the preset.

    Example:
        >>> most_numbers(kem.hub.built_in_presets.presets_dir() / "espmedsam_nano_256") > 4180653
        True

    Source: ours.
    """
    # At least half a byte is stored of each. A head of other classes, or adapters, may be new.
    return 2 * sum(path.stat().st_size for path in _files(folder)) + _SMALL // 4


def check_all_used(model: Any, stored: StoredWeights, preset: str | os.PathLike) -> None:
    """Refuse a model that has left stored weights unused: it is another than was saved.

    Args:
        model: `keras.Model`, loaded; of a task its backbone is compared.
        stored: what the files hold.
        preset: what it was loaded from.

    Raises:
        InputError: when the files hold more than it has taken.

    Source: ours.
    """
    # With the states of dropout, which may be stored.
    taken = getattr(model, "backbone", model).variables
    numbers = sum(math.prod(one.shape) for one in taken)
    if stored.arrays > len(taken) and stored.numbers > numbers:
        raise InputError(
            f"The preset {preset} describes a network of {len(taken):,} arrays with "
            f"{numbers:,} numbers, and its weights are {stored.arrays:,} with {stored.numbers:,}: "
            "they are another network's. Install, download or save it again."
        )


def check_finite_weights(model: Any, preset: str | os.PathLike) -> None:
    """Refuse a model whose weights are no numbers: it would find nothing in any image.

    Args:
        model: `keras.Model`.
        preset: what it was loaded from.

    Raises:
        InputError: for NaN or infinite values.

    Source: ours.
    """
    # Not at the top: the names of the presets are listed without Keras.
    import keras

    for weight in model.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            if not all_finite(keras.ops.convert_to_numpy(weight)):
                raise InputError(
                    f"The weights of the preset {preset} hold NaN or infinite values, first "
                    f"in {shown(weight.path)}: a training that failed, or a damaged file. Take "
                    "weights from before, or install or download it again."
                )


def _files(folder):
    return sorted(path for path in pathlib.Path(folder).glob("*.weights*.h5") if path.is_file())


def _arrays(path: pathlib.Path) -> list[tuple[int, int]]:
    """The number of numbers and their width in bytes, of every array in a file."""
    # Not at the top: the names of the presets are listed without it.
    import h5py

    names: list[bytes] = []
    links: list[bytes] = []

    def note(name, link):
        (names if link.type == h5py.h5l.TYPE_HARD else links).append(name)

    try:
        with h5py.File(path, "r") as file:
            # The inner interface: the outer one takes five times as long for hundreds of arrays.
            file.id.links.visit(note, info=True)
            if links:
                raise _damaged(path, f"{_text(links[0])} in it is a link to elsewhere")
            arrays = []
            for name in names:
                # Keras numbers a layer's arrays; all else are groups.
                if not name.rpartition(b"/")[2].isdigit():
                    continue
                one = h5py.h5o.open(file.id, name)
                if not isinstance(one, h5py.h5d.DatasetID):
                    continue
                layout = one.get_create_plist()
                if layout.get_external_count() or layout.get_layout() == h5py.h5d.VIRTUAL:
                    raise _damaged(path, f"{_text(name)} in it lies in another file")
                arrays.append((math.prod(one.shape), one.get_type().get_size()))
            return arrays
    except InputError:
        raise
    # h5py tells damage in many ways: of a signature, of an object, of a name that is no UTF-8.
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise _damaged(path, shown(error)) from error


def _text(name):
    return shown(name.decode("utf-8", errors="replace"))


def _damaged(path, why):
    return InputError(
        f"The weights {path} cannot be used ({why}): they are incomplete or damaged, or made to "
        "harm. Install, download or save the preset again."
    )
