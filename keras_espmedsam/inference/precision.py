"""The precision that a model computes in: float32, or bfloat16 on hardware that supports it."""

from collections.abc import Collection
from typing import Any

from keras_espmedsam.errors import InputError, did_you_mean

PRECISIONS = ("float32", "bfloat16")

# In a Keras model, weights, sums over an image and comparisons stay in float32.
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
# Precisions of stored weights, an option of `espmedsam export` with the same name.
_OF_WEIGHTS = ("float16", "int8")


def check_precision(precision: Any, chosen: Any = None) -> None:
    """Check that a model can compute in a precision, before it is loaded.

    Args:
        precision: `"float32"`, `"bfloat16"`, or `None` for the model's own.
        chosen: the `ExportFormat` of an exported model, or `None` for a preset.

    Raises:
        InputError: for another precision, or one that the exported model's runtime lacks.

    Example:
        >>> check_precision("bfloat16")
    """
    if precision is None:
        return
    if not isinstance(precision, str) or precision not in PRECISIONS:
        why = did_you_mean(precision, PRECISIONS)
        if isinstance(precision, str) and precision in _OF_WEIGHTS:
            why = "; the precision of stored weights is chosen when a model is exported."
        raise InputError(
            f"Received the precision {precision!r} to compute in; expected "
            f"{' or '.join(PRECISIONS)}{why}"
        )
    able: Collection[str] = PRECISIONS if chosen is None else chosen.computes_in
    if precision not in able:
        raise InputError(
            f"A model exported as {chosen.name} computes only in {', '.join(able)}, not in "
            f"{precision}; leave the precision out, or use the preset or an OpenVINO export."
        )


def dtype_policy(precision: str) -> str:
    """Return the name of the Keras dtype policy for a precision.

    Args:
        precision: one of `PRECISIONS`.

    Example:
        >>> dtype_policy("bfloat16")
        'mixed_bfloat16'
    """
    return _POLICIES[precision]


def computed_in(segmenter: Any) -> str:
    """Return the precision that a segmenter computes in.

    Args:
        segmenter: a segmenter of this package, or any object with `segment`.

    Returns:
        str: `"float32"`, `"bfloat16"` or `"float16"`; both, such as `"bfloat16 and float32"`, if
        encoder and decoder differ; `"float32"` if the object does not say.
    """
    told = getattr(segmenter, "precision", None)
    if isinstance(told, str):
        return told
    backbone = getattr(segmenter, "backbone", None)
    parts = (getattr(backbone, "image_encoder", None), backbone)
    found = [getattr(one, "compute_dtype", None) for one in parts]
    return " and ".join(dict.fromkeys(one for one in found if isinstance(one, str))) or "float32"
