"""Convert modalities, given by name or number, to the numbers that a model takes."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.imaging.arrays import as_array
from keras_espmedsam.inference.recognition import AUTO

TO_RECOGNIZE = -1
"""Stands for the number of a modality that is not recognised yet."""


def modality_indices(
    known: tuple[str, ...], modalities: Any, count: int, auto: bool = False
) -> np.ndarray:
    """Convert names or numbers to an int32 array with one number per image.

    Args:
        known: tuple of str. The model's modalities.
        modalities: name, number, or a list, array or tensor of them; `None` if the model has one
            modality.
        count: int. Number of images.
        auto: bool. Whether `"auto"` is allowed; its number is `TO_RECOGNIZE`.

    Returns:
        int32 array `(count,)`.

    Raises:
        InputError: for an unknown name, a number out of range, a wrong count, or `None` if the
            model has several modalities.

    Example:
        >>> modality_indices(("xray", "fundus"), ["fundus", 0, "auto"], 3, auto=True).tolist()
        [1, 0, -1]
    """
    if modalities is None:
        if len(known) > 1:
            more = f", or {AUTO!r} to have it recognised" if auto else ""
            raise InputError(no_modality(known, more))
        modalities = 0
    modalities = plain_modalities(modalities)
    if not isinstance(modalities, list):
        modalities = [modalities] * count
    if len(modalities) != count:
        raise InputError(
            f"Received {len(modalities)} modalities for {count} images; give one for all or "
            "one per image."
        )
    return np.array([_index(known, one, auto) for one in modalities], "int32")


def no_modality(known: Iterable[str], more: str = "") -> str:
    """Return the error message for images without a modality.

    Args:
        known: tuple of str. The model's modalities.
        more: str. What else can be given, or how.

    Example:
        >>> no_modality(("xray", "fundus"))
        'Received no modality; give one of xray, fundus per image.'
    """
    return f"Received no modality; give one of {', '.join(known)} per image{more}."


def plain_modalities(modalities: Any) -> Any:
    """Convert names or numbers to `str`, `int` or a list of them; `None` stays `None`.

    Args:
        modalities: one, or a list, tuple, array or tensor of them. Names may be NumPy strings, or
            the bytes that TensorFlow turns strings into.

    Example:
        >>> plain_modalities(np.array([b"eye", b"lung"]))
        ['eye', 'lung']
    """
    if isinstance(modalities, bytes):
        return modalities.decode(errors="replace")
    if modalities is None or isinstance(modalities, str | int | dict):
        return modalities
    if isinstance(modalities, list | tuple):
        return [plain_modalities(one) for one in modalities]
    values = as_array(modalities)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 0:
        value = values.item()
        return plain_modalities(value) if isinstance(value, bytes) else value
    return plain_modalities(values.tolist())


def _index(known, modality, auto):
    if isinstance(modality, str):
        if auto and modality == AUTO:
            return TO_RECOGNIZE
        if modality in known:
            return known.index(modality)
        raise InputError(
            f"Unknown modality {modality!r}; this model knows {', '.join(known)}"
            + (f", or takes {AUTO!r} to have it recognised" if auto else "")
            + did_you_mean(modality, [*known, *([AUTO] if auto else [])])
        )
    is_integer = isinstance(modality, int | np.integer) and not isinstance(modality, bool)
    if is_integer and 0 <= modality < len(known):
        return int(modality)
    shown = int(modality) if is_integer else modality
    raise InputError(
        f"Unknown modality {shown!r}; this model knows {', '.join(known)} (0 to {len(known) - 1})."
    )
