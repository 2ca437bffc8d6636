"""Convert a mask with a palette, colours or an alpha channel to one value per pixel."""

import numpy as np
from PIL import Image

from keras_espmedsam.errors import InputError

# How far a channel may be from its pixel's hue, on a scale of 1. JPEG moves the channels of a grey
# mask apart, which gives many colours; a few colours are intended.
_HUE_TOLERANCE, _ROUNDING = 0.125, 2 / 255
_FEW_COLOURS = 64
_ADVICE = "Save the foreground as a grey mask of 0 and 255."


def mask_array(image: Image.Image) -> np.ndarray:
    """Convert a mask that Pillow has read to one value per pixel.

    Grey values are unchanged, also from a palette of greys. In another palette the index counts, as
    in PASCAL VOC, if only index 0 is black or all entries have the same colour. If alpha varies and
    everything drawn has one colour, alpha is the mask.

    Args:
        image: `PIL.Image.Image` of any mode, as stored.

    Returns:
        `(height, width)` array of values; for their meaning, see `foreground_scale`.

    Raises:
        InputError: when palette, colours or alpha do not define the foreground.

    Example:
        >>> from PIL import Image
        >>> mask_array(Image.new("RGB", (2, 1), (200, 0, 0))).tolist()
        [[200, 200]]
    """
    mode = image.mode
    if mode == "P":
        return _palette_values(image)
    if mode in ("1", "L", "F", "I") or mode.startswith("I;16"):
        array = np.asarray(image)
        _check_compression(image, array)
        return array.astype(np.uint8) * np.uint8(255) if array.dtype == bool else array
    # Pillow converts La and RGBa back to straight alpha, and applies the palette of PA.
    plain = {"LA": "LA", "La": "LA", "RGBA": "RGBA", "RGBa": "RGBA", "PA": "RGBA"}
    array = mask_channels(np.asarray(image.convert(plain.get(mode, "RGB"))))
    _check_compression(image, array)
    return array


def mask_channels(array: np.ndarray) -> np.ndarray:
    """Convert a mask with several channels to one value per pixel.

    Args:
        array: `(height, width, channels)`, as stored, with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4
            (RGBA) channels; uint8, uint16, or float in [0, 1].

    Returns:
        `(height, width)` array of values, as from `mask_array`.

    Raises:
        InputError: when colours or alpha do not define the foreground.

    Example:
        >>> mask_channels(np.array([[[0, 0, 255], [0, 0, 0]]], "uint8")).tolist()
        [[255, 0]]
    """
    channels = array.shape[-1]
    if channels not in (1, 2, 3, 4):
        raise InputError(
            f"Received a mask of {channels} channels; expected 1 (grey) or 3 (RGB), with or "
            f"without alpha. {_ADVICE}"
        )
    if channels in (2, 4):
        colours, alpha = array[..., :-1], _unit(array[..., -1])
        if alpha.min() < 1 - _HUE_TOLERANCE and alpha.min() != alpha.max():
            _check_ink(_unit(colours), alpha)
            return array[..., -1]
        if not alpha.any() and colours.any() and _is_uniform(_unit(colours)):
            raise InputError(
                "Received a mask of one colour that is transparent everywhere, so it could be "
                f"empty or full. {_ADVICE}"
            )
        array = colours
    if array.shape[-1] == 1 or (array == array[..., :1]).all():
        return array[..., 0]
    _check_hue(_unit(array))
    return array.max(axis=-1)


def _check_compression(image, array):
    """Reject a JPEG with only small values, which may be an empty mask or one of 0 and 1."""
    if image.format in ("JPEG", "MPO") and 0 < array.max(initial=0) <= 127:
        raise InputError(
            f"Received a JPEG mask whose largest value is {array.max()}; JPEG does not preserve "
            f"such small values, so values up to 255 are expected. {_ADVICE}"
        )


def _unit(array):
    array = np.asarray(array)
    scale = 1 if array.dtype.kind in "fb" else np.iinfo(array.dtype).max
    return array.astype(np.float32) / np.float32(scale)


def _is_uniform(colours):
    pixels = colours.reshape(-1, colours.shape[-1])
    return float(np.ptp(pixels, axis=0).max(initial=0)) <= _HUE_TOLERANCE


def _check_ink(colours, alpha):
    """Check that alpha is the mask: one colour drawn on a layer without content."""
    drawn, empty = colours[alpha > alpha.max() / 2], colours[alpha == alpha.min()]
    if not (_is_uniform(drawn) and _is_uniform(empty)):
        raise InputError(
            "Received a mask in which both alpha and colours vary; expected only one of them to "
            f"define the foreground. {_ADVICE}"
        )
    if drawn.max() <= _HUE_TOLERANCE and empty.min() >= 1 - _HUE_TOLERANCE:
        raise InputError(
            "Received a mask that is black where it is opaque and white where it is transparent, "
            f"so alpha and brightness contradict each other. {_ADVICE}"
        )


def _check_hue(colours):
    """Check that brightness is the mask: all colours are between black and one other colour."""
    value = colours.max(axis=-1)
    hue = np.median(colours[value >= 0.75 * value.max()], axis=0)
    distance = np.abs(colours - value[..., None] * (hue / hue.max())).max()
    # With few colours, the median is one of them, and the others must be darker shades of it.
    pixels = np.round(colours.reshape(-1, 3) * 255).astype(np.uint8)
    few = len(np.unique(pixels, axis=0)) <= _FEW_COLOURS
    # For small values, such as colour-coded instances, a tenth is decisive.
    if distance > (min(_ROUNDING, value.max() / 10) if few else _HUE_TOLERANCE):
        raise InputError(
            "Received a mask in several colours; expected one colour on black, because it is "
            f"unknown which one is foreground. {_ADVICE}"
        )


def _palette_values(image):
    indices = np.asarray(image)
    table = _palette_table(image)
    used = np.flatnonzero(np.bincount(indices.ravel(), minlength=256))
    palette = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    if (palette == palette[0]).all() and len(palette) > 1:
        return indices  # The palette has no information; labelling tools read the index.
    colours, alpha = table[used, :3], table[used, 3]
    black = ~colours.any(axis=-1)
    if alpha.min() != alpha.max() or not alpha.any():
        agree = ((used == 0) == (alpha == 0)).all()
    elif (palette == palette[:, :1]).all() and len(np.unique(colours, axis=0)) == len(used):
        return table[:, 0][indices]
    else:
        agree = ((used == 0) == black).all()
    if agree:
        return indices
    grey = (colours == colours[:, :1]).all() and len(np.unique(colours[:, 0])) == len(used)
    if grey and black.any() and used[0] != 0 and alpha.min() == alpha.max():
        return table[:, 0][indices]
    raise InputError(
        "Received a palette mask whose indices and colours disagree about the background; expected "
        f"only index 0 to be black. {_ADVICE}"
    )


def _palette_table(image):
    """Return red, green, blue and alpha of the 256 indices."""
    table = np.zeros((256, 4), np.uint8)
    table[:, 3] = 255
    entries = np.asarray(image.getpalette("RGBA"), np.uint8).reshape(-1, 4)
    table[: len(entries)] = entries
    transparent = image.info.get("transparency")
    if isinstance(transparent, bytes):
        table[: len(transparent), 3] = list(transparent)
    elif isinstance(transparent, int):
        table[transparent, 3] = 0
    return table
