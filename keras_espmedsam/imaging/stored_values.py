"""The meaning and the statistics of an image's stored values."""

import dataclasses
import math
from collections.abc import Callable, Iterable

import numpy as np

from keras_espmedsam.imaging.bands import mapped

# A file uses all its bits if its largest values need the highest bit, not counting as few pixels as
# a sensor's hot ones, and not in an otherwise black image.
_LONE_PIXELS, _LONE_SHARE = 8, 1e-4
BLACK = 1 / 16
# Percentage cut off at each end. A scanner's measurements have rare outliers; in a camera's image,
# the brightest part is often the target. See docs/reports/intensity.md.
CUT, CUT_OF_MEASURED = 0.1, 0.5


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What a file declares about its values, in addition to their type.

    Args:
        window: function from values to float32 in [0, 1] that the file declares for display; None
            without one.
        bits: bits per value, of which 8 or fewer are used as brightness directly; None for those
            of the type.
        whole: the lowest and the highest value that the bits can hold; None for those of the type.
        padding: bool `(height, width)`, true where there is no image; None if there is no padding.
        inverted: whether the lowest value is white.
        measured: whether the values are measurements, such as a scanner's, whose whole range does
            not define black and white.
        statistics: statistics over all images of the file, if they are already known.

    Example:
        >>> twelve_bits_white_is_zero = Meaning(bits=12, inverted=True)
        >>> twelve_bits_white_is_zero.window is None
        True
    """

    window: Callable[[np.ndarray], np.ndarray] | None = None
    bits: int | None = None
    whole: tuple[float, float] | None = None
    padding: np.ndarray | None = None
    inverted: bool = False
    measured: bool = False
    statistics: "Statistics | None" = None


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Statistics of values, to estimate black and white.

    Args:
        low, high: the percentiles; the extremes if these are equal.
        largest: the largest value, ignoring as many pixels as may be hot ones.
        replicated: whether every value is a multiple of 257, as in 8 bits written as 16.
    """

    low: float
    high: float
    largest: float
    replicated: bool

    @classmethod
    def of(cls, images: Iterable[np.ndarray], measured: bool = False) -> "Statistics":
        """Compute the statistics of one image, or of several that share black and white.

        Args:
            images: arrays of any shape.
            measured: see `Meaning`.

        Example:
            >>> found = Statistics.of([np.append(np.arange(1000), [65535, 65535])])
            >>> round(found.low), round(found.high), found.largest
            (1, 999, 999.0)
        """
        samples, smallest, largest = [], math.inf, -math.inf
        for values in images:
            if not values.size:
                continue
            # A million values are accurate enough for percentiles, and a hundred times faster.
            samples.append(values.reshape(-1)[:: sampling_step(values.shape)])
            smallest = min(smallest, float(values.min()))
            largest = max(largest, float(values.max()))
        if not samples:
            return cls(0.0, 0.0, 0.0, False)
        sample = samples[0] if len(samples) == 1 else np.concatenate(samples)
        lone = max(int(sample.size * _LONE_SHARE), min(sample.size // 500, _LONE_PIXELS))
        robust = float(np.partition(sample, -1 - lone)[-1 - lone])
        cut = CUT_OF_MEASURED if measured else CUT
        ends = np.percentile(sample, (cut, 100 - CUT_OF_MEASURED, 100 - cut))
        low, most, high = (float(value) for value in ends)
        if not measured:
            high = min(high, robust)
            if most < high * BLACK:  # Specks, or text on the image.
                high = most
        if not high > low:  # A nearly empty image.
            low, high = smallest, largest
        replicated = sample.dtype.kind == "u" and largest > 257 and not (sample % 257).any()
        return cls(low, high, robust, bool(replicated))


def sampling_step(shape: tuple[int, ...]) -> int:
    """Return a step between samples that covers all columns and channels."""
    step = max(1, math.prod(shape) // 1_000_000)
    while math.gcd(step, math.prod(shape[1:])) > 1:
        step += 1
    return step


def without_padding(values: np.ndarray, meaning: Meaning | None) -> np.ndarray:
    """Return the values of an image that are not padding, in any order."""
    if meaning is None or meaning.padding is None or meaning.padding.all():
        return values
    return values[~meaning.padding]


def to_unit(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale `low` to 0 and `high` to 1, and clip values outside.

    Args:
        values: an array of any shape.
        low: the value that becomes 0.
        high: the value that becomes 1; if it is not above `low`, all values become 0.

    Returns:
        float32 in [0, 1].

    Example:
        >>> to_unit(np.array([-5, 0, 5, 20]), 0, 10).tolist()
        [0.0, 0.0, 0.5, 1.0]
    """
    if not high > low:
        return np.zeros(values.shape, np.float32)
    return mapped(lambda part: _scaled(part, low, high), values)


def _scaled(values, low, high):
    scaled = (values.astype(np.float64) - low) / (high - low)
    return np.clip(scaled, 0, 1).astype(np.float32)
