"""One part of a distillation batch: which images, in which variants, with which features."""

import numpy as np

from keras_espmedsam.distillation.variants import vary
from keras_espmedsam.errors import InputError
from keras_espmedsam.training.data.batch_sampler import BatchSampler
from keras_espmedsam.training.data.sampling_weights import sampling_weights


class PartDrawing:
    """Draw the images of a part by epoch and number, moved as their cached features are.

    Args:
        images: `ImageStore` on the student's canvas.
        batch_size, steps, shuffle, augment, seed: see `BatchSampler`.
        balance, weights: see `sampling_weights`.
        modalities: tuple of str, or `None`: batches say no modality.
        one_modality: bool. Draw a modality first, then images of it alone.
        caches: dict of teacher name to `TeacherCache`, or to a dict of them by modality.

    Call: `part(epoch, index)` gives the part, a dict of `images` (uint8), `modalities` and
    `targets`, those that there are, and the masks (uint8, or None).

    Raises:
        InputError: for an augmentation beside caches, or a cache that does not hold the images.

    Source: ours.
    """

    def __init__(
        self,
        images,
        batch_size,
        steps,
        balance,
        weights,
        shuffle,
        augment,
        seed,
        modalities=None,
        one_modality=False,
        caches=None,
    ):
        if caches and augment:
            raise InputError(
                "Received an augmentation beside a cache, whose features are those of images "
                "that are flipped and turned at most; leave one of the two out."
            )
        self.records = images.records
        self.seed = seed
        self.indices = None
        if modalities is not None:
            places = [tuple(modalities).index(record.modality) for record in self.records]
            self.indices = np.array(places, "int32")
        groups, shares = sampling_weights(self.records, balance, weights)
        drawn = [(groups, shares)]
        if one_modality:
            drawn = _apart(groups, shares, self.indices)
        self._drawings = [
            BatchSampler(
                images,
                batch_size,
                steps,
                groups,
                shares / shares.sum(),
                by_size=False,
                shuffle=shuffle,
                augment=augment or {},
                canvas=None,
                seed=seed,
            )
            for groups, shares in drawn
        ]
        self._shares = np.array([shares.sum() for _, shares in drawn])
        self.num_batches = self._drawings[0].num_batches
        self._entries = {name: self._checked(given) for name, given in (caches or {}).items()}
        self._variants = self._common_variants(caches or {})

    def __call__(self, epoch, index):
        # The last number tells this generator from the drawing's.
        rng = np.random.default_rng([self.seed, epoch, index, 3])
        # The shorter of two parts begins again.
        index %= self.num_batches
        which = rng.choice(len(self._drawings), p=self._shares)
        rows, images, masks = self._drawings[which](epoch, index)
        part = {"images": images}
        if self.indices is not None:
            part["modalities"] = self.indices[rows]
        if self._entries:
            names = [self._variants[i] for i in rng.integers(len(self._variants), size=len(rows))]
            part["images"] = _moved(images, names)
            masks = None if masks is None else _moved(masks, names)
            part["targets"] = {
                teacher: self._features([entries[row] for row in rows], names)
                for teacher, entries in self._entries.items()
            }
        return part, masks

    def _features(self, entries, variants):
        found = [
            cache.targets(place, name)
            for (cache, place), name in zip(entries, variants, strict=True)
        ]
        return {name: np.stack([one[name] for one in found]) for name in found[0]}

    def _checked(self, given):
        """For each row, the cache that holds it, and where."""
        by_modality = given if isinstance(given, dict) else None
        entries = []
        for record in self.records:
            if by_modality is not None and record.modality not in by_modality:
                raise InputError(
                    f"Received caches of {', '.join(by_modality)}, and records of "
                    f"{record.modality}; give a cache for each modality."
                )
            cache = given if by_modality is None else by_modality[record.modality]
            entries.append((cache, cache.row(record)))
        return entries

    def _common_variants(self, caches):
        """The variants that all caches hold, in the order of the first."""
        held = []
        for given in caches.values():
            for cache in given.values() if isinstance(given, dict) else [given]:
                held.append(cache.variants)
        common = [name for name in held[0] if all(name in one for one in held)] if held else []
        if held and not common:
            raise InputError(
                "Received caches that have no variant in common; make them with the same variants."
            )
        return common


def _apart(groups, shares, indices):
    """Groups and their shares for each modality."""
    parts = {}
    for group, share in zip(groups, shares, strict=True):
        for modality in np.unique(indices[group]):
            own = group[indices[group] == modality]
            parts.setdefault(modality, []).append((own, share * len(own) / len(group)))
    found = []
    for modality in sorted(parts):
        own, own_shares = zip(*parts[modality], strict=True)
        if sum(own_shares) > 0:
            found.append((list(own), np.array(own_shares)))
    return found


def _moved(batch, variants):
    return np.stack([vary(one, name) for one, name in zip(batch, variants, strict=True)])
