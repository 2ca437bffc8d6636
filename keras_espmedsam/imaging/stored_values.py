"""What is known of an image's stored values: what its file says, and what they are."""

import dataclasses
import math
from collections.abc import Callable, Iterable

import numpy as np

# A file uses its bits when its largest values have the highest of them: not as few alone as a
# sensor has hot pixels, nor in an image that is black otherwise.
_LONE_PIXELS, _LONE_SHARE = 8, 1e-4
BLACK = 1 / 16
# As many per cent are cut off at each end. What a scanner measures has rare values far from the
# others; of what a camera sees, the brightest is often the target. Docs: intensity.md.
CUT, CUT_OF_MEASURED = 0.1, 0.5


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What a file says of its values, beside their type.

    Args:
        window: function of the values that gives float32 in [0, 1], as the file wants to be
            shown; None without such a wish.
        bits: how many bits a value has, 8 or fewer being brightness as they are; None for those of
            the type.
        whole: the lowest and the highest value that these can hold; None for those of the type.
        padding: bool `(height, width)`, true where there is no image; None for nowhere.
        inverted: whether its lowest value is white.
        measured: whether its values are measurements, as a scanner's, whose whole range says
            nothing of black and white.
        statistics: those of all images of the file, where they are known already.

    Source: ours.
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
    """What black and white are taken from where nothing else tells.

    Args:
        low, high: the percentiles; the extremes where these are equal.
        largest: the largest value, but for as many pixels as may be hot ones.
        replicated: whether every value is a multiple of 257, as of 8 bits written as 16.

    Source: ours.
    """

    low: float
    high: float
    largest: float
    replicated: bool

    @classmethod
    def of(cls, images: Iterable[np.ndarray], measured: bool = False) -> "Statistics":
        """Of one image's values, or of several that are to be shown alike.

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
            # A million values give the percentiles closely enough, in a hundredth of the time.
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
            if most < high * BLACK:  # specks, or what is written on the image
                high = most
        if not high > low:  # a nearly empty image
            low, high = smallest, largest
        replicated = sample.dtype.kind == "u" and largest > 257 and not (sample % 257).any()
        return cls(low, high, robust, bool(replicated))


def sampling_step(shape: tuple[int, ...]) -> int:
    """How far apart samples lie, so that all columns and channels have a part in them."""
    step = max(1, math.prod(shape) // 1_000_000)
    while math.gcd(step, math.prod(shape[1:])) > 1:
        step += 1
    return step


def without_padding(values: np.ndarray, meaning: Meaning | None) -> np.ndarray:
    """The values of an image that are no padding, in any order.

    Source: ours.
    """
    if meaning is None or meaning.padding is None or meaning.padding.all():
        return values
    return values[~meaning.padding]


def to_unit(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale `low` to 0 and `high` to 1, cutting what lies outside.

    Args:
        values: an array of any shape.
        low: the value that becomes 0.
        high: the value that becomes 1; where it is not above `low`, all become 0.

    Returns:
        float32 in [0, 1].

    Example:
        >>> to_unit(np.array([-5, 0, 5, 20]), 0, 10).tolist()
        [0.0, 0.0, 0.5, 1.0]

    Source: ours.
    """
    if not high > low:
        return np.zeros(values.shape, np.float32)
    scaled = (values.astype(np.float64) - low) / (high - low)
    return np.clip(scaled, 0, 1).astype(np.float32)
