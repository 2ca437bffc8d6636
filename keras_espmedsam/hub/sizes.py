"""Check the sizes of a network before it is built.

A single number in a preset or a configuration could ask for endless blocks or any amount of
memory, and a depth below 1 would remove a stage. The bounds are far above every published network.
"""

import numbers
from collections.abc import Iterable, Sequence
from typing import Any

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError

# Minimum and maximum by argument; for a list, those of each entry.
_BOUNDS = {
    "adapter_dim": (0, 16_384),
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
# Multipliers of a width: fractions are allowed, and the minimum itself is not.
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
# Lists whose entries may be None.
_OPEN_SIDES = ("image_shape",)
# The classes with these arguments; in other classes the same name may mean something else.
_CLASSES = (
    *("ESPMedSAMBackbone", "TiCBackbone", "TinyViTBackbone", "ViTMedBackbone"),
    *("ESPMedSAMImageConverter", "TiCImageConverter", "TiCImageClassifier"),
)
_LONGEST_LIST = 1024
_LONGEST_NAME = 200


def check_sizes(owner: str, **sizes: Any) -> None:
    """Reject sizes that no network has.

    Args:
        owner: str. The name of the class, for the message.
        **sizes: value by argument: a number, a list of numbers, or `None` if it may be open.

    Raises:
        InputError: for a value that is not a number (a bool is not), or is out of bounds.

    Example:
        >>> check_sizes("TinyViTBackbone", depths=(2, 2, 6, 2), neck_dim=None)
        >>> check_sizes("TinyViTBackbone", depths=(2, -1, 6, 2))
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: TinyViTBackbone received depths=(2, -1, 6, 2); expected \
a list of whole numbers from 0 to 1,024 together.
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
    """Check the sizes in the configuration of a saved model, before its class is imported.

    Args:
        class_name: str. The class that the configuration describes.
        config: dict. The configuration.

    Raises:
        InputError: as in `check_sizes` and `check_class_names`.

    Example:
        >>> check_described("ViTMedBackbone", {"depth": 12})
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
    """Check the names of modalities or classes, and return them as a tuple.

    Args:
        owner: str. The name of the class, for the message.
        names: iterable of str.
        argument: str. The name of the argument.

    Raises:
        InputError: if it is not a list; if a name is not text, is empty or has more than 200
            characters; or if there are too many (1,000 modalities, 100,000 classes).

    Example:
        >>> check_class_names("ESPMedSAMBackbone", ("fundus", 7))
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: ESPMedSAMBackbone received 7 among its modalities; \
expected names of 1 to 200 characters.
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
