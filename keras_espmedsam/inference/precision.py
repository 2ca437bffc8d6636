"""What a model computes in: float32, or bfloat16 where the processor has units for it."""

from collections.abc import Collection
from typing import Any

from keras_espmedsam.errors import InputError, did_you_mean

PRECISIONS = ("float32", "bfloat16")

# Of a Keras model: what is stored, added up over an image or compared stays in float32.
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
# What `espmedsam export` has under the same name.
_OF_WEIGHTS = ("float16", "int8")


def check_precision(precision: Any, chosen: Any = None) -> None:
    """Refuse what a model cannot compute in, before it is loaded.

    Args:
        precision: `"float32"`, `"bfloat16"`, or `None`: as it is loaded.
        chosen: the `ExportFormat` of an artefact, or `None` for a preset.

    Raises:
        InputError: for another precision, and for one that the artefact's runtime does not have.

    Example:
        >>> check_precision("bfloat16")

    Source: ours.
    """
    if precision is None:
        return
    if not isinstance(precision, str) or precision not in PRECISIONS:
        why = did_you_mean(precision, PRECISIONS)
        if isinstance(precision, str) and precision in _OF_WEIGHTS:
            why = "; what the weights are stored in is chosen when a model is exported."
        raise InputError(
            f"Received the precision {precision!r} to compute in; expected "
            f"{' or '.join(PRECISIONS)}{why}"
        )
    able: Collection[str] = PRECISIONS if chosen is None else chosen.computes_in
    if precision not in able:
        raise InputError(
            f"An artefact of the format {chosen.name} is computed in {', '.join(able)} alone, not "
            f"in {precision}; leave the precision out, or use the preset or an OpenVINO artefact."
        )


def dtype_policy(precision: str) -> str:
    """The name of the Keras dtype policy by which a model computes in a precision.

    Args:
        precision: one of `PRECISIONS`.

    Example:
        >>> dtype_policy("bfloat16")
        'mixed_bfloat16'

    Source: Keras' mixed precision.
    """
    return _POLICIES[precision]


def computed_in(segmenter: Any) -> str:
    """What a segmenter computes in.

    Args:
        segmenter: one of ours, or any object with `segment`.

    Returns:
        str: `"float32"`, `"bfloat16"` or `"float16"`; both of encoder and decoder where they
        differ. Of what tells nothing, `"float32"`.

    Source: ours.
    """
    told = getattr(segmenter, "precision", None)
    if isinstance(told, str):
        return told
    backbone = getattr(segmenter, "backbone", None)
    parts = (getattr(backbone, "image_encoder", None), backbone)
    found = [getattr(one, "compute_dtype", None) for one in parts]
    return " and ".join(dict.fromkeys(one for one in found if isinstance(one, str))) or "float32"
