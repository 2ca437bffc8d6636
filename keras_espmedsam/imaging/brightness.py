"""Convert an image's stored values to brightness between black and white.

The same rules apply to files and arrays, in training, evaluation and segmentation. The first one
that applies decides:

1. the user's choice: `"full"`, or the values of black and white;
2. the file's window or look-up table;
3. for up to 8 bits, and floating point in [0, 1]: their whole range;
4. for more bits from a camera or microscope, if the image uses them: their whole range;
5. otherwise: the 0.1 and 99.9 percentiles of the values, or the 0.5 and 99.5 percentiles of
   measured ones, with a notice to the user.

Padding is ignored and becomes black. If a file declares that its lowest value is white
(MONOCHROME1, WhiteIsZero), brightness is inverted at the end.
"""

import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.bands import mapped
from keras_espmedsam.imaging.intensity import AUTO, FULL, INTENSITIES, Intensity
from keras_espmedsam.imaging.stored_values import (
    BLACK,
    CUT,
    CUT_OF_MEASURED,
    Meaning,
    Statistics,
    sampling_step,
    to_unit,
    without_padding,
)

# Floats may leave [0, 1] by this much, because resizing rounds (1.0000002 for white).
_ROUNDING = 1e-5
# Integers that differ by less are the noise of an empty image, which is not amplified.
_FEWEST_LEVELS = 16


def to_brightness(
    values: np.ndarray, meaning: Meaning | None = None, intensity: Intensity = AUTO
) -> tuple[np.ndarray, str | None]:
    """Convert an image's values to brightness by the rules of this module.

    Args:
        values: array `(height, width)` or `(height, width, channels)` of numbers; the channels
            share black and white.
        meaning: `Meaning`, what the file says about them; None for an array in memory.
        intensity: `"auto"`, `"full"`, or the values of black and white.

    Returns:
        uint8, uint16 that uses its full range, or float32 in [0, 1]; and None, or a notice as the
        end of a sentence about the image: that black and white were estimated from its values, or
        that a window hides it.

    Raises:
        InputError: for values that are not numbers or not finite, or whose type does not define
            black and white.

    Example:
        >>> image, notice = to_brightness(np.linspace(0, 600, 100).astype("uint16")[None])
        >>> float(image.min()), float(image.max())
        (0.0, 1.0)
        >>> notice
        'only 10 of its 16 bits are used, so black and white are taken from its values (their 0.1 \
and 99.9 percentiles)'
    """
    in_memory = meaning is None
    meaning = meaning or Meaning()
    _check_finite(values)
    brightness, notice = _by_policy(values, meaning, intensity, in_memory)
    kind = brightness.dtype
    if meaning.inverted:
        brightness = (np.iinfo(kind).max if kind.kind == "u" else kind.type(1)) - brightness
    if meaning.padding is not None and meaning.padding.any():
        brightness = np.where(meaning.padding, kind.type(0), brightness)
    # uint16 is kept only if an array of it in memory would be converted in the same way.
    if kind == np.uint16 and meaning != Meaning():
        if not _is_used(Statistics.of([brightness]), (0, 65535)):
            brightness = brightness.astype(np.float32) / np.float32(65535)
    return brightness, notice


def needs_statistics(values: np.ndarray, meaning: Meaning | None, intensity: Intensity) -> bool:
    """Return whether black and white must be estimated from all images of a file together.

    Args:
        values, meaning, intensity: those of the first image, as for `to_brightness`.
    """
    return (
        intensity == AUTO
        and meaning is not None
        and meaning.window is None
        and meaning.statistics is None
        and not _is_shallow(values, meaning)
        and (values.dtype.kind in "iu" or meaning.measured)
    )


def _by_policy(values, meaning, intensity, in_memory):
    if intensity not in (AUTO, FULL):
        _check_numbers(values)
        low, high = intensity
        if _is_shallow(values, meaning) and high > _range(values, meaning)[1]:
            return _whole(values, meaning), (
                f"its 8 bits, or fewer, hold no {high:g}, so they are taken as they are and not by "
                f"the intensity {low:g}:{high:g}"
            )
        shown = to_unit(values, low, high)
        return shown, _what_hides_it(without_padding(shown, meaning), low, high)
    if intensity == FULL:
        if meaning.measured and meaning.whole is None:
            raise InputError(
                "Received the intensity 'full' for measured floating-point values, which have no "
                "full range; give LOW:HIGH, the values of black and white."
            )
        return _whole(values, meaning), None
    if meaning.window is not None:
        shown = meaning.window(values)
        told = (
            "" if _tells_something(shown, values, meaning) else "its window shows all values alike"
        )
        return shown, told or None
    if _is_shallow(values, meaning) or (values.dtype.kind == "f" and not meaning.measured):
        return _whole(values, meaning), None
    if in_memory and values.dtype.newbyteorder("=") != np.uint16:
        _refuse_type(values)
    _check_numbers(values)
    found = meaning.statistics
    if found is None:
        found = Statistics.of([without_padding(values, meaning)], meaning.measured)
    if not meaning.measured and _is_used(found, _range(values, meaning), meaning.inverted):
        if _has_16_bits(values, meaning):
            return values.astype(np.uint16, copy=False), None
        return _whole(values, meaning), None
    low, high = found.low, found.high
    if values.dtype.kind in "iu" and high - low < _FEWEST_LEVELS:
        alike = f"its values hardly differ (by less than {_FEWEST_LEVELS}), so they are shown alike"
        return to_unit(values, low, low + 255 * _FEWEST_LEVELS), alike
    return to_unit(values, low, high), _reason(values, meaning, found)


def _what_hides_it(shown, low, high):
    """Return a notice if an intensity leaves nearly everything black or white."""
    darkest, brightest = np.percentile(
        shown.reshape(-1)[:: sampling_step(shown.shape)], (CUT, 100 - CUT)
    )
    for hidden, what in ((brightest < BLACK, "black"), (darkest > 1 - BLACK, "white")):
        if hidden:
            return f"by the intensity {low:g}:{high:g} nearly all of it is {what}"
    return None


def _reason(values, meaning, found):
    used = max(1, int(found.largest).bit_length())
    bits = meaning.bits or 8 * values.dtype.itemsize
    if meaning.measured or values.dtype.kind != "u" or used >= bits:
        reason = "nothing tells what is black and white, so they"
    else:
        reason = f"only {used} of its {bits} bits are used, so black and white"
    cut = CUT_OF_MEASURED if meaning.measured else CUT
    return f"{reason} are taken from its values (their {cut} and {100 - cut} percentiles)"


def _tells_something(shown, values, meaning):
    """Return whether a window leaves any contrast, if the image has some."""
    shown, values = without_padding(shown, meaning), without_padding(values, meaning)
    return np.ptp(shown) > 0 or np.ptp(values) == 0


def _is_shallow(values, meaning):
    """Return whether the values have 8 bits or fewer, which are used as they are."""
    if meaning.bits is not None:
        return meaning.bits <= 8
    return values.dtype in (np.uint8, np.bool_)


def _is_used(found, whole, inverted=False):
    low, high = whole
    if found.replicated:
        return True
    if inverted and found.low > high / 2:  # The lowest values are the brightest.
        return False
    # An offset, such as for signed values, lifts values of few bits above half of the range.
    lifted = _FEWEST_LEVELS <= found.high - found.low < high * BLACK
    return low == 0 and found.largest > high / 2 and found.high >= high * BLACK and not lifted


def _has_16_bits(values, meaning):
    return values.dtype.newbyteorder("=") == np.uint16 and _range(values, meaning) == (0, 65535)


def _range(values, meaning):
    if meaning.whole is not None:
        return meaning.whole
    if values.dtype.kind == "b":
        return 0, 1
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        return limits.min, limits.max
    return 0, 1


def _whole(values, meaning):
    """Scale by the whole range of the data type or of its bits."""
    low, high = _range(values, meaning)
    if values.dtype == np.uint8 and (low, high) == (0, 255):
        return values
    if values.dtype.kind == "f" and meaning.whole is None:
        return _unit_floats(values)
    _check_numbers(values)
    if low == 0:
        return mapped(
            lambda part: np.clip(part.astype(np.float32) / np.float32(high), 0, 1), values
        )
    return to_unit(values, low, high)


def is_brightness(values: np.ndarray) -> bool:
    """Return whether values are floats in [0, 1], except for rounding.

    Example:
        >>> is_brightness(np.array([0.0, 1.0000002])), is_brightness(np.array([0, 1]))
        (True, False)
    """
    if values.dtype.kind != "f" or not values.size:
        return False
    return bool(values.min() >= -_ROUNDING and values.max() <= 1 + _ROUNDING)


def _unit_floats(values):
    values = values.astype("float32")
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    if values.size and not is_brightness(values):
        raise InputError(
            f"Received a float image with values from {_digits(low)} to {_digits(high)}; expected "
            "values in [0, 1]. Rescale it first, give uint8 or uint16, or give the intensity "
            "LOW:HIGH, the values of black and white, such as 0:255."
        )
    return np.clip(values, 0, 1) if low < 0 or high > 1 else values


def _digits(value):
    """Format a value with enough digits to distinguish it from 0 and 1."""
    short = f"{value:g}"
    return short if short not in ("0", "1", "-0") or value in (0, 1) else f"{value:.8g}"


def _check_finite(values):
    if values.dtype.kind != "f" or not values.size:
        return
    # If there is a NaN, min and max are NaN.
    if not (np.isfinite(values.min()) and np.isfinite(values.max())):
        found = "NaN" if np.isnan(values).any() else "infinite values"
        raise InputError(
            f"Received an image with {found}; expected finite numbers. Replace them, for example "
            "with 0, and try again."
        )


def _check_numbers(values):
    if values.dtype.kind not in "biuf":
        _refuse_type(values)


def _refuse_type(values):
    raise InputError(
        f"Received an image of dtype {values.dtype}; expected uint8, uint16, or floats in [0, 1]. "
        f"Convert it first, or set the values of black and white with the intensity: "
        f"{INTENSITIES}."
    )
