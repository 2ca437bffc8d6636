"""Draw masks on their image, for viewing."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from keras_espmedsam._files import atomic_path
from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.bands import bands
from keras_espmedsam.imaging.legend import draw_legend
from keras_espmedsam.imaging.pixels import as_unit_floats, rgb_brightness
from keras_espmedsam.imaging.target_colours import target_colours

# The dark rim separates the contour from bright images.
_FILL, _RIM = 0.3, 0.65


def draw_overlay(
    image: np.ndarray,
    mask: np.ndarray,
    targets: Sequence[str] = (),
    instances: Mapping[str, np.ndarray] | None = None,
    known: Sequence[str] = (),
) -> np.ndarray:
    """Draw masks on an image: a translucent fill, a bright contour and a dark rim outside.

    The contour is one pixel wide, and wider if the image's longer side is above 800 pixels. If the
    modality has several targets, each has a colour of its own, and a legend with their names is
    added below the image.

    Args:
        image: `(height, width)`, `(height, width, 3)` or `(height, width, 4)`: uint8, uint16, or
            floating point in [0, 1].
        mask: `(height, width)`, or `(height, width, targets)` for several targets; nonzero is
            foreground. Later targets are drawn on earlier ones.
        targets: the names of the masks, as `segment` gives them.
        instances: dict of target to its label image `(height, width)`, 0 for the background and a
            number for each object, whose contours are all drawn; or `None`.
        known: the names of all targets of the modality, if `mask` holds only some of them, so that
            each keeps its colour.

    Returns:
        uint8 `(height, width, 3)`; with a legend, higher, and wider if a name is wider than the
        image, which is at the top left.

    Raises:
        InputError: when the sizes differ, or there is not one name per mask.

    Example:
        >>> draw_overlay(np.zeros((5, 5), "uint8"), np.eye(5))[2, 2].tolist()
        [40, 255, 120]
        >>> masks = np.stack([np.eye(5), np.eye(5)[::-1]], axis=-1)
        >>> draw_overlay(np.zeros((5, 5), "uint8"), masks, ("vessels", "optic_disc"))[0, 0].tolist()
        [86, 180, 233]
    """
    image = np.asarray(image)
    layers, legend = _layers(image, mask, targets, instances, known)
    height, width = image.shape[:2]
    size = (height, width) if legend is None else (height + legend.height, legend.width)
    canvas = np.zeros((*size, 3), np.uint8)
    for rows, part in _drawn(image, layers):
        canvas[rows, :width] = part
    if legend is not None:
        canvas[height:] = np.asarray(legend)
    return canvas


@dataclasses.dataclass(frozen=True)
class _Layer:
    """What is drawn in one colour: a mask, or a label image whose objects are all outlined."""

    values: np.ndarray
    colour: np.ndarray
    labels: bool


def _layers(image, mask, targets, instances, known):
    """Return the layers to draw, from below to above, and the legend or None."""
    mask, targets = np.asarray(mask), tuple(targets)
    if mask.shape[:2] != image.shape[:2] or mask.ndim not in (2, 3):
        raise InputError(
            f"Received a mask of shape {mask.shape} for an image of {image.shape[:2]}; give it the "
            "image's height and width."
        )
    planes = [mask] if mask.ndim == 2 else [mask[..., k] for k in range(mask.shape[-1])]
    if len(set(targets)) != len(planes) and (targets or len(planes) > 1):
        raise InputError(
            f"Received {len(planes)} masks and the targets {shown_value(targets)}; expected a "
            "different name for each mask."
        )
    known = tuple(known) or targets
    strange = [name for name in targets if name not in known]
    if strange:
        raise InputError(
            f"Received the targets {shown_value(targets)} with known={shown_value(known)}, which "
            f"lacks {strange[0]}; expected the names of all targets of the modality."
        )
    colours = target_colours(known or ("",))
    layers = []
    for name, plane in zip(targets or ("",), planes, strict=True):
        labels = (instances or {}).get(name)
        if labels is not None and np.shape(labels) != plane.shape:
            raise InputError(
                f"Received instances of shape {np.shape(labels)} for an image of {plane.shape}; "
                "give them the image's height and width."
            )
        values = plane if labels is None else np.asarray(labels)
        layers.append(_Layer(values, np.array(colours[name], np.float32), labels is not None))
    named = {name: colours[name] for name in targets}
    return layers, draw_legend(named, image.shape[:2]) if len(known) > 1 else None


def _drawn(image: np.ndarray, layers: list[_Layer]) -> Iterator[tuple[slice, Any]]:
    """Yield the overlay in bands, each with its slice of rows."""
    size = image.shape[:2]
    brightness = rgb_brightness(image)
    width = max(1, round(max(size) / 800))
    reach = width + 1
    for rows in bands(*size):
        part = brightness[rows]
        if part.dtype != np.uint8:
            part = np.round(as_unit_floats(part) * 255).astype(np.uint8)
        # A copy, because it is drawn on.
        part = np.repeat(part, 3, axis=-1) if part.shape[-1] == 1 else part.copy()
        above = min(rows.start, reach)
        near = slice(rows.start - above, rows.stop + reach)
        shapes = [_shape(layer, layer.values[near], above, len(part), width) for layer in layers]
        shapes = [shape for shape in shapes if shape is not None]
        # The contours last, so that no fill or rim of another target covers them.
        for where, inside, _, _, colour in shapes:
            area = part[where]
            area[inside] = (area[inside] * (1 - _FILL) + colour * _FILL).astype(np.uint8)
        for where, _, _, rim, _ in shapes:
            area = part[where]
            area[rim] = (area[rim] * (1 - _RIM)).astype(np.uint8)
        for where, _, contour, _, colour in shapes:
            part[where][contour] = colour.astype(np.uint8)
        yield rows, part


def _shape(layer, values, above, height, width):
    """Return what a layer covers in a band: its place, inside, contour and rim, and its colour.

    Args:
        layer: the layer.
        values: its values in the band and in the rows near it.
        above: how many of these rows are above the band.
        height: the number of rows of the band.
        width: the width of the contour.
    """
    mask = values != 0
    if not mask.any():
        return None
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    # Only the surroundings of the mask change, so the rest of a large image is not computed.
    rows, columns = (slice(max(0, part.start - width - 1), part.stop + width + 1) for part in found)
    inside = mask[rows, columns]
    inner = _depths(np.pad(values[rows, columns] if layer.labels else inside, 1), layer.labels)
    outer = ndimage.distance_transform_edt(~inside)
    shown = slice(max(0, above - rows.start), max(0, above + height - rows.start))
    inside, inner, outer = inside[shown], inner[1:-1, 1:-1][shown], outer[shown]
    first = max(0, rows.start - above)
    where = slice(first, first + len(inside)), columns
    return where, inside, inside & (inner <= width), ~inside & (outer <= width), layer.colour


def _depths(values, labels):
    """Return each pixel's distance to the nearest one that is not of its object."""
    if not labels:
        return ndimage.distance_transform_edt(values)
    beside = np.zeros(values.shape, bool)
    below, right = values[1:] != values[:-1], values[:, 1:] != values[:, :-1]
    beside[1:] |= below
    beside[:-1] |= below
    beside[:, 1:] |= right
    beside[:, :-1] |= right
    return ndimage.distance_transform_edt(~beside) + 1


def write_overlay(
    path: str | os.PathLike,
    image: np.ndarray,
    mask: np.ndarray,
    targets: Sequence[str] = (),
    instances: Mapping[str, np.ndarray] | None = None,
    known: Sequence[str] = (),
) -> None:
    """Write `draw_overlay` of the same arguments to a PNG file, completely or not at all.

    Args:
        path: the file; an existing one is replaced.
        image, mask, targets, instances, known: see `draw_overlay`.

    Raises:
        InputError: when the sizes differ, or there is not one name per mask.

    Example:
        >>> import tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "overlay.png")
        >>> write_overlay(path, np.zeros((4, 6), "uint8"), np.ones((4, 6)))
        >>> Image.open(path).size
        (6, 4)
    """
    image = np.asarray(image)
    layers, legend = _layers(image, mask, targets, instances, known)
    height, width = image.shape[:2]
    size = (width, height) if legend is None else (legend.width, height + legend.height)
    # Pillow's image is filled in bands, to need no second canvas of the same size. Only a legend
    # can leave a part of it empty.
    canvas = Image.new("RGB", size, None if size[0] == width else 0)
    for rows, part in _drawn(image, layers):
        canvas.paste(Image.fromarray(part), (0, rows.start))
    if legend is not None:
        canvas.paste(legend, (0, height))
    with atomic_path(path) as temporary:
        canvas.save(temporary, format="PNG")
