"""The sizes that a network may have, checked before anything is built.

A number of a few bytes, in the description of a preset or in a configuration, asks for blocks
without end or for any amount of memory; and a depth below 1 is a network without that stage. The
bounds lie far above every published network.
"""

import numbers
from collections.abc import Iterable, Sequence
from typing import Any

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError

# By argument: the least and the most. Where a list is given, of each.
_BOUNDS = {
    "adapter_ratio": (0, 1024),
    "depth": (1, 1024),
    "depths": (0, 1024),
    "detail_dims": (1, 16_384),
    "expand_ratio": (0, 1024),
    "global_indices": (0, 1024),
    "hidden_dim": (1, 16_384),
    "hidden_dims": (1, 16_384),
    "image_shape": (1, 65_536),
    "image_size": (1, 65_536),
    "kernel_size": (1, 255),
    "mlp_ratio": (0, 1024),
    "neck_dim": (1, 16_384),
    "neck_levels": (0, 64),
    "num_added_queries": (0, 1000),
    "num_classes": (1, 100_000),
    "num_heads": (1, 1024),
    "num_heads_by_stage": (1, 1024),
    "num_modalities": (0, 1000),
    "num_queries": (1, 10_000),
    "num_tokens": (0, 10_000),
    "output_stride": (1, 1024),
    "patch_size": (1, 1024),
    "pool_size": (1, 255),
    "position_grid": (1, 1024),
    "query_indices": (0, 11_000),
    "shift_size": (0, 255),
    "strides": (1, 64),
    "transformer_depth": (0, 256),
    "transformer_mlp_dim": (1, 65_536),
    "transformer_num_heads": (1, 1024),
    "window_size": (1, 4096),
    "window_sizes": (1, 4096),
}
# What is multiplied by a width, and may be a fraction; it is above its least.
_RATIOS = ("adapter_ratio", "expand_ratio", "mlp_ratio")
_LISTS = (
    *("depths", "detail_dims", "global_indices", "hidden_dims", "image_shape", "image_size"),
    *("neck_levels", "num_heads_by_stage", "position_grid", "query_indices", "strides"),
    "window_sizes",
)
_OPEN = (
    "neck_dim",
    "neck_levels",
    "num_classes",
    "num_queries",
    "output_stride",
    "pool_size",
    "position_grid",
    "query_indices",
    "shift_size",
    "window_size",
)
# In these lists, one by one.
_OPEN_SIDES = ("image_shape",)
# Whose arguments these are; a stranger's class may call other things so.
_CLASSES = (
    *("ESPMedSAMBackbone", "TiCBackbone", "TinyViTBackbone", "ViTMedBackbone"),
    *("ESPMedSAMImageConverter", "TiCImageConverter", "TiCImageClassifier"),
)
_LONGEST_LIST = 1024
_LONGEST_NAME = 200


def check_sizes(owner: str, **sizes: Any) -> None:
    """Refuse sizes that no network has.

    Args:
        owner: str. The class that is made, for the sentence.
        **sizes: argument to its value: a number, a list of them, or `None` for what is left open.

    Raises:
        InputError: for what is no number (a bool is none), or out of bounds.

    Example:
        >>> check_sizes("TinyViTBackbone", depths=(2, 2, 6, 2), neck_dim=None)
        >>> check_sizes("TinyViTBackbone", depths=(2, -1, 6, 2))
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: TinyViTBackbone received depths=(2, -1, 6, 2); expected \
a list of whole numbers from 0 to 1,024 together.

    Source: ours.
    """
    for name, value in sizes.items():
        if not _is_right(name, value):
            low, high = _BOUNDS[name]
            what = "number" if name in _RATIOS else "whole number"
            what = f"a list of {what}s" if name in _LISTS else f"a {what}"
            bounds = f"from {low} to {high:,}"
            if name in _RATIOS:
                bounds = f"above {low} and up to {high:,}"
            elif name == "depths":
                bounds += " together"
            open_ = ", or None" if name in _OPEN or name in _OPEN_SIDES else ""
            raise InputError(
                f"{owner} received {name}={shown_value(value)}; expected {what} {bounds}{open_}."
            )


def check_described(class_name: str, config: dict[str, Any]) -> None:
    """Refuse what a saved model of this package says of its sizes, before its class is imported.

    Args:
        class_name: str. What is described.
        config: dict. Its configuration.

    Raises:
        InputError: as `check_sizes` and `check_class_names`.

    Example:
        >>> check_described("ViTMedBackbone", {"depth": 12})

    Source: ours.
    """
    if class_name not in _CLASSES:
        return
    for name, value in config.items():
        if name in ("modalities", "class_names") and value is not None:
            check_class_names(class_name, value, name)
        if name == "num_heads" and isinstance(value, list):
            name = "num_heads_by_stage"
        if name in _BOUNDS and not (value is None and name in _LISTS):
            check_sizes(class_name, **{name: value})


def _is_right(name, value):
    if value is None and name in _OPEN:
        return True
    if name in _LISTS:
        value = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            return False
        if len(value) > _LONGEST_LIST:
            return False
        if name in _OPEN_SIDES:
            value = [one for one in value if one is not None]
        if name == "depths" and not sum(filter(_is_number, value)) <= _BOUNDS[name][1]:
            return False
        return all(_is_within(name, one) for one in value)
    return _is_within(name, value)


def _is_within(name, value):
    low, high = _BOUNDS[name]
    if name in _RATIOS:
        return _is_number(value, numbers.Real) and low < value <= high
    return _is_number(value) and low <= value <= high


def _is_number(value, kind=numbers.Integral):
    return isinstance(value, kind) and not isinstance(value, bool)


def check_class_names(owner: str, names: Any, argument: str = "modalities") -> tuple[str, ...]:
    """The names of modalities or classes as a tuple, without what cannot be one.

    Args:
        owner: str. The class that is made, for the sentence.
        names: several of str.
        argument: str. What they are given as.

    Raises:
        InputError: for what is no list; what is no text, empty text, or text of more than 200
            characters; and for more than a thousand modalities.

    Example:
        >>> check_class_names("ESPMedSAMBackbone", ("fundus", 7))
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: ESPMedSAMBackbone received 7 among its modalities; \
expected names of 1 to 200 characters.

    Source: ours.
    """
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        raise InputError(
            f"{owner} received {argument}={shown_value(names)}; expected a list of names."
        )
    names = tuple(names)
    most = _BOUNDS["num_modalities" if argument == "modalities" else "num_classes"][1]
    if len(names) > most:
        raise InputError(f"{owner} received {len(names):,} {argument}; expected at most {most:,}.")
    for name in names:
        if not isinstance(name, str) or not 1 <= len(name) <= _LONGEST_NAME:
            raise InputError(
                f"{owner} received {shown_value(name)} among its {argument}; expected names of 1 "
                f"to {_LONGEST_NAME} characters."
            )
    return names
