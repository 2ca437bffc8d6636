"""What is done to the masks of a target after the model, as a property of a preset."""

import math
import numbers
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.imaging.objects import connected_components, holes_of, without_small
from keras_espmedsam.imaging.options_by_target import options_by_target
from keras_espmedsam.imaging.placement import Placement

if TYPE_CHECKING:
    from keras_espmedsam.data.targets import Targets

OPTIONS: dict[str, Any] = {"min_area": 0, "fill_holes": False, "max_objects": 0}
"""The options of `postprocess_mask` and `split_instances`, and their defaults."""


def postprocess_mask(
    mask: np.ndarray, min_area: float = 0, fill_holes: bool = False, max_objects: int = 0
) -> np.ndarray:
    """Fill the holes of a mask, and remove small parts of it.

    Parts are connected, also across corners. Holes are filled first, and count for the area.

    Args:
        mask: `(height, width)`, nonzero is foreground.
        min_area: the least area of a part that stays, in pixels of this mask.
        fill_holes: whether holes become foreground. A hole does not touch the border of the image.
        max_objects: how many parts stay, the largest ones, such as 2 for lungs; of equal ones, the
            first in reading order. 0 for any number.

    Returns:
        bool `(height, width)`.

    Example:
        >>> mask = np.array([[1, 1, 1, 0, 0], [1, 0, 1, 0, 1], [1, 1, 1, 0, 0]])
        >>> postprocess_mask(mask, min_area=2, fill_holes=True).astype(int).tolist()
        [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0]]
    """
    mask = np.asarray(mask) != 0
    if fill_holes:
        mask = mask | (holes_of(mask)[0] != 0)
    if min_area > 1 or max_objects:
        mask = without_small(connected_components(mask), min_area, max_objects) != 0
    return mask


def options_at_image_size(options: Mapping[str, Any], place: Placement) -> dict[str, Any]:
    """Return the options of a preset for an image of a certain size.

    A preset's areas are in pixels of the model's canvas, because these are what the model can
    tell from noise. So the same image gives the same objects at every size.

    Args:
        options: options of one target, as from `checked_postprocessing`.
        place: where the image lies on the canvas.

    Returns:
        dict of arguments for `postprocess_mask` and `split_instances`.

    Example:
        >>> place = Placement.of((512, 256), image_size=(256, 256))
        >>> options_at_image_size({"min_area": 20}, place)
        {'min_area': 80.0, 'fill_holes': False, 'max_objects': 0}
    """
    options = {**OPTIONS, **options}
    scale = math.prod(place.size) / math.prod(place.inner)
    return {**options, "min_area": options["min_area"] * scale}


def checked_postprocessing(given: Any, targets: "Targets") -> dict[str, dict[str, dict[str, Any]]]:
    """Check the post-processing of a model's masks.

    Args:
        given: dict of modality to dict of target to options: `min_area` (the least area of an
            object, in pixels of the model's canvas), `fill_holes`, and `max_objects` (how many
            objects stay, the largest ones; 0 for any number). None for none.
        targets: the model's.

    Returns:
        The same as plain data, without options that have their default.

    Raises:
        InputError: for an unknown modality, target or option, or an option's wrong value.

    Example:
        >>> targets = kem.data.Targets({"microscopy": ("nuclei",)})
        >>> checked_postprocessing({"microscopy": {"nuclei": {"min_area": 20}}}, targets)
        {'microscopy': {'nuclei': {'min_area': 20}}}
    """
    example = '{"microscopy": {"nuclei": {"min_area": 20, "fill_holes": True}}}'
    return options_by_target(given, targets, "postprocessing", _options, example)


def _options(given, where):
    if given is not None and not isinstance(given, Mapping):
        raise InputError(
            f"Received {shown_value(given)} as the {where}; expected a dict of options, such as "
            '{"min_area": 20, "fill_holes": True}.'
        )
    found = {}
    for name, value in (given or {}).items():
        if name not in OPTIONS:
            raise InputError(
                f"Received the option {shown_value(name)} in the {where}"
                f"{did_you_mean(name, OPTIONS)} The options are {', '.join(OPTIONS)}."
            )
        if name == "min_area":
            value = _area(value, where)
        elif name == "max_objects":
            value = _count(value, where)
        elif not isinstance(value, bool | np.bool_):
            raise InputError(
                f"Received {name}={shown_value(value)} in the {where}; expected true or false."
            )
        else:
            value = bool(value)
        if value != OPTIONS[name]:
            found[name] = value
    return found


def _area(value, where):
    usable = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
    # An integer too large for a float is no area, either.
    if not usable or not 0 <= value < 2**53:
        raise InputError(
            f"Received min_area={shown_value(value)} in the {where}; expected a number of pixels "
            "of the model's canvas, 0 or more."
        )
    return int(value) if int(value) == value else float(value)


def _count(value, where):
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)
    if not whole or not 0 <= value < 2**31:
        raise InputError(
            f"Received max_objects={shown_value(value)} in the {where}; expected how many objects "
            "stay, such as 1 for the largest alone, or 0 for any number."
        )
    return int(value)
