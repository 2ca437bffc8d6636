"""Assign a checkpoint's tensors to a model: all of them, or none, with an error that says why."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_espmedsam._shown import shown
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.finite import all_finite

_MAX_NAMES = 8


class Layout(NamedTuple):
    """The array layout of a tensor in PyTorch and in Keras.

    Attributes:
        to_keras: function from PyTorch's array to Keras'.
        torch_shape: function from Keras' shape to PyTorch's.
    """

    to_keras: Callable[[np.ndarray], np.ndarray]
    torch_shape: Callable[[tuple[int, ...]], tuple[int, ...]]


def _permutation(*axes: int) -> Layout:
    inverse = np.argsort(axes)
    return Layout(
        lambda array: array.transpose(axes),
        lambda shape: tuple(shape[axis] for axis in inverse),
    )


UNCHANGED = Layout(lambda array: array, lambda shape: shape)
# (out, in) to (in, out)
DENSE = _permutation(1, 0)
# (out, in, height, width) to (height, width, in, out). A transposed convolution is
# (in, out, height, width) in PyTorch and (height, width, out, in) in Keras: the same permutation.
CONV = _permutation(2, 3, 1, 0)
CONV_TRANSPOSE = CONV
# (channels, 1, height, width) to (height, width, channels, 1)
DEPTHWISE = _permutation(2, 3, 0, 1)
# (heads, 1, head size) to (heads, head size)
TOKEN = Layout(lambda array: array[:, 0], lambda shape: (shape[0], 1, *shape[1:]))
# (1, height, width, channels) to (height, width, channels)
POSITION = Layout(lambda array: array[0], lambda shape: (1, *shape))


class Entry(NamedTuple):
    """One tensor of a checkpoint and its variable.

    Attributes:
        name: the tensor's name in the checkpoint.
        variable: the Keras variable.
        layout: how to convert from one to the other.
    """

    name: str
    variable: Any
    layout: Layout = UNCHANGED


def assign_tensors(
    tensors: Mapping[str, np.ndarray],
    entries: Sequence[Entry],
    ignored_prefixes: Iterable[str] = (),
    source: str = "The checkpoint",
) -> dict[str, int]:
    """Assign a checkpoint's tensors to variables, after checking all of them.

    Args:
        tensors: name to array, from `read_checkpoint`.
        entries: what the model needs, in any order.
        ignored_prefixes: beginnings of names that may occur and are not used.
        source: what to call the checkpoint at the beginning of a sentence.

    Returns:
        dict of each ignored prefix that occurred to its number of tensors.

    Raises:
        InputError: see `check_tensors`. Then nothing is assigned.

    Example:
        >>> dense = keras.layers.Dense(2)
        >>> dense.build((None, 3))
        >>> entries = [Entry("fc.weight", dense.kernel, DENSE), Entry("fc.bias", dense.bias)]
        >>> tensors = {"fc.weight": np.ones((2, 3)), "fc.bias": np.ones(2), "old.x": np.ones(1)}
        >>> assign_tensors(tensors, entries, ignored_prefixes=["old."])
        {'old.': 1}
    """
    ignored = check_tensors(tensors, entries, ignored_prefixes, source)
    assign_checked(tensors, entries)
    return ignored


def check_tensors(
    tensors: Mapping[str, np.ndarray],
    entries: Sequence[Entry],
    ignored_prefixes: Iterable[str] = (),
    source: str = "The checkpoint",
) -> dict[str, int]:
    """Check that a checkpoint has exactly the tensors that a model needs.

    BatchNorm's `num_batches_tracked` is allowed and not counted: Keras has no such variable.

    Args:
        tensors, entries, ignored_prefixes, source: see `assign_tensors`.

    Returns:
        dict of each ignored prefix that occurred to its number of tensors.

    Raises:
        InputError: one sentence that names missing, unexpected and wrongly shaped tensors, and
            those with NaN or infinite values.

    Example:
        >>> check_tensors({"unused.x": np.ones(1)}, [], ignored_prefixes=["unused."])
        {'unused.': 1}
    """
    expected = {entry.name: entry for entry in entries}
    ignored, unexpected = _sort_unused(tensors, expected, tuple(ignored_prefixes))
    misshaped, not_finite = [], []
    for name, entry in expected.items():
        if name not in tensors:
            continue
        shape = tensors[name].shape
        want = tuple(entry.layout.torch_shape(tuple(entry.variable.shape)))
        if shape != want:
            misshaped.append(f"{shown(name)} ({_shape(shape)}, expected {_shape(want)})")
        elif not all_finite(tensors[name]):
            not_finite.append(name)
    problems = [
        f"{what}: {listed(names)}"
        for what, names in (
            ("missing", [name for name in expected if name not in tensors]),
            ("unexpected", unexpected),
            ("of another shape", misshaped),
            ("with NaN or infinite values", not_finite),
        )
        if names
    ]
    if problems:
        raise InputError(
            f"{source} does not fit the model ({'; '.join(problems)}); give a checkpoint of the "
            "published configuration."
        )
    return ignored


def assign_checked(tensors: Mapping[str, np.ndarray], entries: Sequence[Entry]) -> None:
    """Assign tensors that `check_tensors` has passed.

    Args:
        tensors, entries: see `assign_tensors`.

    Example:
        >>> assign_checked({}, [])
    """
    for entry in entries:
        array = entry.layout.to_keras(tensors[entry.name])
        entry.variable.assign(np.ascontiguousarray(array))


def differing_tensors(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], names: Iterable[str]
) -> list[str]:
    """Return the names whose tensors are not identical, bit for bit, in two checkpoints.

    Args:
        first, second: name to array. A name that either lacks differs.
        names: the names to compare.

    Returns:
        The differing names, in the order of `names`.

    Example:
        >>> differing_tensors({"a": np.ones(2)}, {"a": np.zeros(2)}, ["a"])
        ['a']
    """
    return [
        name
        for name in names
        if name not in first
        or name not in second
        or first[name].dtype != second[name].dtype
        or first[name].shape != second[name].shape
        or first[name].tobytes() != second[name].tobytes()
    ]


def listed(names: Sequence[str]) -> str:
    """Join names with commas; after the first eight give only the number of the others.

    Args:
        names: what to list.

    Returns:
        The list as text.

    Example:
        >>> listed(["a", "b"])
        'a, b'
    """
    named = ", ".join(map(shown, names[:_MAX_NAMES]))
    more = len(names) - _MAX_NAMES
    return f"{named} and {more} more" if more > 0 else named


def ignored_messages(
    ignored: Mapping[str, int], reasons: Mapping[str, str], path: str | os.PathLike
) -> list[str]:
    """Return sentences that say which tensors were not used, and why.

    Args:
        ignored: dict of prefix to number of tensors, from `assign_tensors`.
        reasons: dict of prefix to what its tensors are.
        path: the checkpoint.

    Returns:
        List of str.

    Example:
        >>> ignored_messages({"old.": 2}, {"old.": "an older head"}, "a.pt")
        ['Ignored old.* of a.pt (tensors: 2): an older head.']
    """
    return [
        f"Ignored {prefix}* of {path} (tensors: {count}): {reasons[prefix]}."
        for prefix, count in ignored.items()
    ]


def _sort_unused(tensors, expected, prefixes):
    """Return the unused tensors: counts by allowed prefix, and the unexpected ones."""
    ignored, unexpected = {}, []
    for name in tensors:
        if name in expected or _is_bookkeeping(name, expected):
            continue
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
        if prefix is None:
            unexpected.append(name)
        else:
            ignored[prefix] = ignored.get(prefix, 0) + 1
    return ignored, unexpected


def _is_bookkeeping(name: str, expected: Mapping[str, Entry]) -> bool:
    layer, _, last = name.rpartition(".")
    return last == "num_batches_tracked" and f"{layer}.running_mean" in expected


def _shape(shape: tuple[int, ...]) -> str:
    return shown(" x ".join(map(str, shape))) or "a scalar"
