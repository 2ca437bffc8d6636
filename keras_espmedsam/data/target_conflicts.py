"""Masks of one image that contradict each other: overlaps that are excluded, parts outside."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from keras_espmedsam.data.targets import Targets

TOLERANCE = 0.01
"""The share of a target's pixels that may contradict its group or outer target."""


class Conflict(NamedTuple):
    """Two masks of an image that contradict each other.

    Args:
        channel: that of the inner target, or of the smaller one of an exclusive group.
        other: that of the outer target, or of the larger one of the group.
        share: the share of the first one's pixels that is outside of the other, or in both.
        nested: whether one should lie in the other; otherwise they exclude each other.
    """

    channel: int
    other: int
    share: float
    nested: bool

    def sentence(
        self, names: tuple[str, ...], remedy: str, places: Mapping[int, object] | None = None
    ) -> str:
        """Return an error message.

        Args:
            names: those of the modality's targets, in the order of the channels.
            remedy: what else can be done than to correct the masks.
            places: where the masks of the channels are, such as their paths.
        """
        first, second = (
            names[channel] if places is None else f"{names[channel]} in {places[channel]}"
            for channel in (self.channel, self.other)
        )
        found = (
            f"is outside of {second}, which contains it according to `nested`"
            if self.nested
            else f"is also {second}, but the two exclude each other"
        )
        return (
            f"{100 * self.share:.3g} % of {first} {found}; expected at most {TOLERANCE:.0%}. "
            f"Correct the masks, {remedy}, or build the model without this "
            f"{'pair' if self.nested else 'exclusive group'}."
        )


def find_conflicts(
    targets: Targets, modality: str, masks: Mapping[int, np.ndarray]
) -> Iterator[Conflict]:
    """Find the masks that contradict each other in more than 1 percent of their pixels.

    Args:
        targets: the model's.
        modality: that of the image.
        masks: bool `(height, width)` by channel, of the labelled targets alone.

    Yields:
        Nested targets first.

    Example:
        >>> targets = Targets({"eye": ("disc", "cup")}, nested={"eye": {"cup": "disc"}})
        >>> disc, cup = np.array([[1, 1, 0]], bool), np.array([[0, 1, 1]], bool)
        >>> next(find_conflicts(targets, "eye", {0: disc, 1: cup})).share
        0.5
    """
    names = targets.of(modality)
    for inner, outer in targets.nested.get(modality, {}).items():
        one, other = names.index(inner), names.index(outer)
        if one in masks and other in masks:
            share = _share(masks[one] & ~masks[other], masks[one])
            if share > TOLERANCE:
                yield Conflict(one, other, share, nested=True)
    for group in targets.exclusive.get(modality, ()):
        own = [names.index(name) for name in group if names.index(name) in masks]
        for number, one in enumerate(own):
            for other in own[number + 1 :]:
                first, second = sorted((one, other), key=lambda channel: masks[channel].sum())
                share = _share(masks[one] & masks[other], masks[first])
                if share > TOLERANCE:
                    yield Conflict(first, second, share, nested=False)


def _share(part, whole):
    return int(part.sum()) / max(int(whole.sum()), 1)
