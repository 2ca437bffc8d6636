"""The channels of a model's masks that a record's targets belong to, and what must hold in them."""

from collections.abc import Mapping, Sequence

import numpy as np

from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.record import Record
from keras_espmedsam.data.samples import TargetPixels
from keras_espmedsam.data.target_conflicts import find_conflicts
from keras_espmedsam.data.targets import UNNAMED, Targets
from keras_espmedsam.errors import InputError

OVERLAPS = ("error", "first", "neither")
"""What becomes of pixels of several targets of an exclusive group; see `SegmentationDataset`."""

_LEAVE_OUT = "leave others out with `targets`, of read_index or of the source in a configuration"


class TargetChannels:
    """Where the targets of records are among a model's channels.

    Args:
        targets: the model's; None for one unnamed target in each modality.
        records: all records, whose targets are checked.
        overlap: one of `OVERLAPS`.

    Raises:
        InputError: for a target that the model does not have, several targets for a modality with
            an unnamed one, two masks for one channel, or an unknown `overlap`.

    Example:
        >>> from pathlib import Path
        >>> from keras_espmedsam.data.record import TargetMask
        >>> targets = Targets({"xray": ("lungs", "heart")})
        >>> record = Record("train", "xray", "jsrt", Path("1.png"),
        ...                 targets=(TargetMask("heart", Path("heart.png")),))
        >>> TargetChannels(targets, [record]).labelled(record).tolist()
        [False, True]
    """

    def __init__(
        self, targets: Targets | None, records: Sequence[Record], overlap: str = "error"
    ) -> None:
        if overlap not in OVERLAPS:
            raise InputError(
                f"Received overlap={shown_value(overlap)}; expected one of {', '.join(OVERLAPS)}."
            )
        if targets is not None and not isinstance(targets, Targets):
            raise InputError(
                f"Received targets={shown_value(targets)}; expected those of a model, "
                "segmenter.target_set, or Targets({modality: (names, ...)})."
            )
        self.targets = targets
        self.overlap = overlap
        self.num_channels = 1 if targets is None else targets.num_channels
        self._check(records)

    @property
    def reads_instances(self) -> bool:
        """Whether a channel is derived from images of instances."""
        targets = self.targets
        return targets is not None and any(targets.hidden(one) for one in targets.modalities)

    def index(self, record: Record, target: str) -> int:
        """Return the channel of a record's target."""
        return 0 if self.targets is None else self.targets.index(record.modality, target)

    def own_channels(self, modality: str) -> int:
        """Return the number of a modality's channels."""
        return 1 if self.targets is None else len(self.targets.channels(modality))

    def hidden(self, record: Record) -> list[tuple[int, str, str]]:
        """Return channel, the record's name of the target and kind of each map from instances."""
        if self.targets is None:
            return []
        given = {self.index(record, one.target): one for one in record.target_masks}
        channels, found = self.targets.channels(record.modality), []
        for target, name in self.targets.hidden(record.modality):
            one = given.get(self.targets.index(record.modality, target))
            if one is not None and one.has_instances:
                kind = self.targets.instances[record.modality][target]
                found.append((channels.index(name), one.target, kind))
        return found

    def labelled(self, record: Record) -> np.ndarray:
        """Return which channels a record labels: bool `(channels of the model,)`.

        A hidden channel is labelled where the target's objects are numbered.
        """
        found = np.zeros(self.num_channels, bool)
        for one in record.target_masks:
            found[self.index(record, one.target)] = True
        for channel, _, _ in self.hidden(record):
            found[channel] = True
        return found

    def settled(self, record: Record, labels: Mapping[str, TargetPixels]) -> dict[int, np.ndarray]:
        """Check masks of an image at its own size, and return them by channel, free of conflicts.

        Up to 1 percent of an inner target's pixels may be outside of its outer one, as from
        resizing, and are removed from it; likewise for overlaps in an exclusive group.

        Raises:
            InputError: for more than that; with an `overlap` other than `"error"` for nested
                targets alone.
        """
        masks = {self.index(record, name): one.mask for name, one in labels.items()}
        if self.targets is None or len(masks) < 2:
            return masks
        names = self.targets.of(record.modality)
        for channel, mask in masks.items():
            first = next(iter(masks.values()))
            if mask.shape != first.shape:
                raise InputError(
                    f"The masks of {names[channel]} and {names[next(iter(masks))]} of "
                    f"{record.image} have different sizes; expected that of the image."
                )
        paths = {self.index(record, one.target): one.mask for one in record.target_masks}
        for conflict in find_conflicts(self.targets, record.modality, masks):
            if conflict.nested:
                raise InputError(conflict.sentence(names, "leave the image out", paths))
            if self.overlap == "error":
                remedy = "choose overlap='first' or overlap='neither'"
                raise InputError(conflict.sentence(names, remedy, paths))
        return self._free_of_conflicts(record.modality, masks, self.overlap == "neither")

    def free_of_conflicts(
        self, modality: str, masks: np.ndarray, labelled: np.ndarray
    ) -> np.ndarray:
        """Give pixels that resizing or turning has given to two targets to the first of them.

        Args:
            modality: their modality.
            masks: bool or uint8 `(height, width, channels)`.
            labelled: bool `(channels,)`; others are left alone.
        """
        targets = self.targets
        if targets is None or not (targets.exclusive.get(modality) or targets.nested.get(modality)):
            return masks
        names = targets.of(modality)
        own = {i: masks[..., i] for i in range(len(names)) if labelled[i]}
        settled = self._free_of_conflicts(modality, own)
        masks = masks.copy()
        for channel, mask in settled.items():
            masks[..., channel] = mask
        return masks

    def _free_of_conflicts(self, modality, masks, neither=False):
        assert self.targets is not None
        names = self.targets.of(modality)
        masks = dict(masks)
        for group in self.targets.exclusive.get(modality, ()):
            own = [names.index(name) for name in group if names.index(name) in masks]
            if len(own) < 2:
                continue
            counts = np.sum([masks[channel] != 0 for channel in own], axis=0)
            if counts.max() < 2:
                continue
            taken = counts > 1 if neither else np.zeros_like(counts, dtype=bool)
            for channel in own:
                mask = masks[channel]
                masks[channel] = np.where(taken, np.zeros((), mask.dtype), mask)
                taken = taken | (mask != 0)
        # Outer targets first, so that what they lose is lost to those inside of them, too.
        pairs = self.targets.nested.get(modality, {})
        for inner in sorted(pairs, key=lambda name: _depth(name, pairs)):
            one, other = names.index(inner), names.index(pairs[inner])
            if one in masks and other in masks:
                masks[one] = np.where(masks[other] != 0, masks[one], np.zeros((), masks[one].dtype))
        return masks

    def _check(self, records):
        seen: dict[tuple[str, str], Record] = {}
        for record in records:
            for one in record.target_masks:
                seen.setdefault((record.modality, one.target), record)
        for modality in dict.fromkeys(modality for modality, _ in seen):
            names = [name for of, name in seen if of == modality and name]
            if self.targets is None or self.targets.of(modality) == (UNNAMED,):
                if len(names) > 1:
                    raise InputError(
                        f"Received masks of the targets {', '.join(names)} for "
                        f"{modality or 'images of no modality'}, of which the model has one "
                        f"unnamed target; choose one with `targets`, of read_index or of the "
                        "source in a configuration, or declare the model's targets."
                    )
                continue
            known = self.targets.of(modality)
            unknown = [name for name in names if name not in known]
            if unknown:
                example = seen[modality, unknown[0]].image
                try:
                    self.targets.index(modality, unknown[0])
                except InputError as error:
                    raise InputError(
                        f"{error} It is labelled in {example}; {_LEAVE_OUT}."
                    ) from None
        for record in records:
            channels = [self.index(record, one.target) for one in record.target_masks]
            if len(set(channels)) < len(channels):
                raise InputError(
                    f"{record.image} has a mask without a target's name and one of "
                    f"{self._first(record.modality)}, the first target of {record.modality}; keep "
                    "one of them."
                )

    def _first(self, modality):
        return UNNAMED if self.targets is None else self.targets.of(modality)[0]


def _depth(name, pairs):
    depth = 0
    while name in pairs:
        name, depth = pairs[name], depth + 1
    return depth
