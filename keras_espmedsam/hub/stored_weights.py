"""Check the weight files of a preset, before and after a model has loaded them.

The network's configuration and its weights are separate files; either may be damaged, exchanged or
malicious.
"""

import math
import os
import pathlib
from collections.abc import Sequence, Set
from typing import Any, NamedTuple

from keras_espmedsam._shown import shown
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.finite import all_finite

# The largest accepted compression factor, and a size in bytes that any machine can hold. Keras does
# not compress weights, and trained weights hardly shrink.
_MAX_COMPRESSION = 20
_SMALL = 64 * 2**20
_BACKBONE = "model.weights"


class StoredWeights(NamedTuple):
    """The number of arrays in a backbone's files, and of the numbers in them."""

    arrays: int
    numbers: int


def stored_weights(folder: str | os.PathLike) -> StoredWeights:
    """Check a preset's weight files and count the backbone's arrays, without reading them.

    Args:
        folder: path of the preset.

    Returns:
        `StoredWeights`, zeros if there are no files.

    Raises:
        InputError: for a file that is damaged, links to other files, or would become much larger
            when it is read.

    Example:
        >>> held = stored_weights(kem.hub.built_in_presets.presets_dir() / "espmedsam_nano_256")
        >>> held.numbers > held.arrays > 500
        True
    """
    arrays = numbers = 0
    for path in _files(folder):
        held = check_weights_file(path)
        if path.name.startswith(_BACKBONE):
            arrays += len(held)
            numbers += sum(count for count, _ in held)
    return StoredWeights(arrays, numbers)


def check_weights_file(
    path: str | os.PathLike,
    again: str = "Install, download or save the preset again",
    names: Sequence[str] = (),
) -> list[tuple[int, int]]:
    """Check one weight file without reading its arrays.

    Args:
        path: the HDF5 file.
        again: what to do about a damaged file, for the message.
        names: names of further arrays; Keras' own are named with digits.

    Returns:
        For each array, the count of its numbers and their width in bytes.

    Raises:
        InputError: for a file that is damaged, links to other files, or would become much larger
            when it is read.

    Example:
        >>> folder = kem.hub.built_in_presets.presets_dir() / "espmedsam_nano_256"
        >>> len(check_weights_file(folder / "model.weights.h5")) > 500
        True
    """
    path = pathlib.Path(path)
    if not os.path.isfile(path):  # Unlike pathlib, it accepts names that are too long.
        raise _damaged(path, "there is no such file", again)
    held = _arrays(path, again, {name.encode() for name in names})
    stored, size = sum(count * width for count, width in held), path.stat().st_size
    if stored > _MAX_COMPRESSION * size + _SMALL:
        raise _damaged(path, f"{stored:,} bytes are said to lie in {size:,}", again)
    return held


def most_numbers(folder: str | os.PathLike) -> int:
    """Return an upper bound on the numbers in a network, from the size of its weight files.

    Args:
        folder: path of the preset.

    Example:
        >>> most_numbers(kem.hub.built_in_presets.presets_dir() / "espmedsam_nano_256") > 4180653
        True
    """
    # Each number takes at least half a byte. A new head or new adapters may come on top.
    return 2 * sum(path.stat().st_size for path in _files(folder)) + _SMALL // 4


def check_all_used(model: Any, stored: StoredWeights, preset: str | os.PathLike) -> None:
    """Reject a model that left stored weights unused, because it is not the saved network.

    Args:
        model: `keras.Model`, loaded; for a task, its backbone is compared.
        stored: the counts from `stored_weights`.
        preset: the preset that it was loaded from.

    Raises:
        InputError: when the files hold more than the model has loaded.
    """
    # `variables` includes the states of dropout, which may be stored.
    taken = getattr(model, "backbone", model).variables
    numbers = sum(math.prod(one.shape) for one in taken)
    if stored.arrays > len(taken) and stored.numbers > numbers:
        raise InputError(
            f"The preset {preset} describes a network of {len(taken):,} arrays with "
            f"{numbers:,} numbers, but its weights are {stored.arrays:,} with {stored.numbers:,}: "
            "they are another network's. Install, download or save the preset again."
        )


def check_finite_weights(model: Any, source: str) -> None:
    """Reject a model with NaN or infinite weights: its masks would be empty.

    Args:
        model: `keras.Model`.
        source: where it was loaded from, for the message: `"the preset x"`.

    Raises:
        InputError: for NaN or infinite values.
    """
    # Not at the top, so that presets can be listed without Keras.
    import keras

    for weight in model.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            if not all_finite(keras.ops.convert_to_numpy(weight)):
                raise InputError(
                    f"The weights of {source} hold NaN or infinite values, first "
                    f"in {shown(weight.path)}: training failed, or the file is damaged. Use "
                    "earlier weights, or install or download it again."
                )


def _files(folder):
    return sorted(path for path in pathlib.Path(folder).glob("*.weights*.h5") if path.is_file())


def _arrays(path: pathlib.Path, again: str, known: Set[bytes]) -> list[tuple[int, int]]:
    """Return the count of numbers and their width in bytes for every array in a file."""
    # Not at the top, so that presets can be listed without it.
    import h5py

    names: list[bytes] = []
    links: list[bytes] = []

    def note(name, link):
        (names if link.type == h5py.h5l.TYPE_HARD else links).append(name)

    try:
        with h5py.File(path, "r") as file:
            # h5py's low-level interface: the usual one takes five times as long here.
            file.id.links.visit(note, info=True)
            if links:
                raise _damaged(path, f"{_text(links[0])} in it links to another place", again)
            arrays = []
            h5t = h5py.h5t
            no_numbers = (h5t.COMPOUND, h5t.STRING, h5t.REFERENCE, h5t.VLEN, h5t.ARRAY)
            for name in names:
                # Keras numbers a layer's arrays; everything else is a group.
                own = name.rpartition(b"/")[2]
                if not own.isdigit() and own not in known:
                    continue
                one = h5py.h5o.open(file.id, name)
                if not isinstance(one, h5py.h5d.DatasetID):
                    continue
                layout = one.get_create_plist()
                if layout.get_external_count() or layout.get_layout() == h5py.h5d.VIRTUAL:
                    raise _damaged(path, f"{_text(name)} in it lies in another file", again)
                kind = one.get_type()
                # Keras would silently drop the imaginary part of complex numbers.
                if kind.get_class() in no_numbers:
                    raise _damaged(path, f"{_text(name)} in it holds no real numbers", again)
                arrays.append((math.prod(one.shape), kind.get_size()))
            return arrays
    except InputError:
        raise
    # h5py reports damage with many kinds of error.
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise _damaged(path, shown(error), again) from error


def _text(name):
    return shown(name.decode("utf-8", errors="replace"))


def _damaged(path, why, again):
    return InputError(
        f"The weights {path} cannot be used ({why}): the file is incomplete, damaged or malicious. "
        f"{again}."
    )
