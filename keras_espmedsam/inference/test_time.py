"""Test-time augmentation: average what is predicted of an image, mirrored and at other sizes."""

import math
import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.target_masks import ImageMaps

Scales = float | Sequence[float]
"""A factor of the model's image size, or several."""

OWN_SIZE = (1.0,)
"""The scales of a pass at the model's image size alone."""

AT_OWN_SIZE = ("scope_score",)
"""What holds for a pass at the model's image size alone, since it was fitted there."""

LEAST_SCALE, MOST_SCALE = 0.25, 4.0

Predicted = tuple[list[ImageMaps], dict[str, np.ndarray]]
"""The maps of each image of a batch, and by name what else the model says, `(batch, ...)`."""

Predict = Callable[[Any, list[np.ndarray]], Predicted]
"""From a converter and RGB images to what is predicted of them."""


def checked_scales(scales: Any, model: Any = None) -> tuple[float, ...]:
    """Check the scales that predictions are averaged over.

    Args:
        scales: a number from 0.25 to 4, or a sequence of different ones; `None` for 1.
        model: the segmenter that shall have these scales, if it is known.

    Returns:
        The scales as floats.

    Raises:
        InputError: for anything else, and for scales that the model cannot have.

    Example:
        >>> checked_scales(None), checked_scales([1, 1.25])
        ((1.0,), (1.0, 1.25))
    """
    if scales is None:
        return OWN_SIZE
    several = isinstance(scales, Iterable) and not isinstance(scales, str | bytes | dict)
    values: list[Any] = list(scales) if several else [scales]
    if not values or not all(map(_is_scale, values)) or len(set(map(float, values))) < len(values):
        raise InputError(
            f"Received scales={shown_value(scales)}; expected a number from {LEAST_SCALE:g} to "
            f"{MOST_SCALE:g}, or several different ones, such as (0.75, 1, 1.25)."
        )
    found = tuple(map(float, values))
    # A custom segmenter may need no converter.
    converter = getattr(model, "image_converter", None)
    if converter is not None:
        for name in model.modalities:
            scaled_converters(model, converter_of(converter, name), found)
    return found


def parse_scales(text: str | None, option: str = "--scales") -> tuple[float, ...] | None:
    """Return the scales that a text holds, or `None` for the model's image size alone.

    Args:
        text: numbers with commas between them; `None` for none.
        option: what the text was given as, for the message.

    Raises:
        InputError: for anything but different numbers from 0.25 to 4.

    Example:
        >>> parse_scales("0.75,1,1.25")
        (0.75, 1.0, 1.25)
        >>> parse_scales("1") is None
        True
    """
    if text is None:
        return None
    try:
        scales = checked_scales([float(one) for one in text.split(",")])
    except ValueError:  # An InputError is one, too.
        raise InputError(
            f"Received {option} {shown_value(text)}; expected a number from 0.25 to 4, or several "
            "different ones with commas between them, such as 0.75,1,1.25."
        ) from None
    return None if scales == OWN_SIZE else scales


def _is_scale(value):
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return number and LEAST_SCALE <= float(value) <= MOST_SCALE


def converter_of(converter: Any, modality: str) -> Any:
    """Return the converter of one modality: its own if it has another size, or else the same."""
    return getattr(converter, "for_modality", lambda name: converter)(modality)


def scaled_converters(model: Any, converter: Any, scales: tuple[float, ...]) -> list[Any]:
    """Return a converter for each scale.

    Args:
        model: a segmenter. Only one whose `takes_any_size` is true has other scales than 1.
        converter: its converter of the images' modality.
        scales: from `checked_scales`.

    Returns:
        A list of `HostImageConverter`, whose sizes are the scaled ones, rounded to what the model
        can take.

    Raises:
        InputError: if the model takes images of one size alone or segments them at their own size,
            and for scales that give one size.
    """
    if scales == OWN_SIZE:
        return [converter]
    size = converter.image_size
    if size is None:
        raise InputError(
            f"Received scales={scales} for a model that segments images at their own size; leave "
            "the scales out, and resize the images yourself if you want other sizes."
        )
    if not getattr(model, "takes_any_size", False):
        raise InputError(
            f"Received scales={scales} for a model whose images are always {_shown(size)} pixels; "
            "leave the scales out, or use a preset that takes images of any size."
        )
    sizes: dict[tuple[int, int], float] = {}
    for scale in scales:
        scaled = _scaled(size[0], scale, converter), _scaled(size[1], scale, converter)
        if scaled in sizes:
            raise InputError(
                f"Received the scales {sizes[scaled]:g} and {scale:g}, which both are "
                f"{_shown(scaled)} pixels for this model, because sides are multiples of "
                f"{converter.size_multiple}; give scales that are further apart."
            )
        sizes[scaled] = scale
    return [converter if one == size else converter.at_size(one) for one in sizes]


def _scaled(side, scale, converter):
    multiple = converter.size_multiple
    return max(1, math.floor(side * scale / multiple + 0.5)) * multiple


def _shown(size):
    return f"{size[0]} x {size[1]}"


def averaged_maps(
    predict: Predict,
    converters: Sequence[Any],
    images: list[np.ndarray],
    mirror: bool,
    usual: Any = None,
) -> Predicted:
    """Predict a batch once for each converter, and with `mirror` also mirrored, and average.

    Args:
        predict: see `Predict`.
        converters: from `scaled_converters`.
        images: RGB images `(height, width, channels)`.
        mirror: whether the images are also predicted mirrored left to right.
        usual: the converter of the model's image size; the first one by default.

    Returns:
        The maps of each image, with the mean probabilities, and the means of what else the model
        says. Those of `AT_OWN_SIZE` are of the passes by the usual converter, and missing without
        one.

    Source: averaging probabilities over mirrored images follows nnU-Net (arXiv 1809.10486), which
    also mirrors top to bottom; most images here have an up and a down.
    """
    flips = (False, True) if mirror else (False,)
    passes = [(converter, flip) for converter in converters for flip in flips]
    usual = usual or converters[0]
    maps: list[ImageMaps] = []
    further: dict[str, list[np.ndarray]] = {}
    for converter, flip in passes:
        shown = [image[:, ::-1] for image in images] if flip else images
        found, said = predict(converter, shown)
        for name, values in said.items():
            if converter is usual or name not in AT_OWN_SIZE:
                further.setdefault(name, []).append(values)
        for one, other in zip(maps, found, strict=bool(maps)):
            one.add(other, mirrored=flip)
        maps = maps or found
    for one in maps:
        one.divide(len(passes))
    return maps, {name: np.sum(values, axis=0) / len(values) for name, values in further.items()}
