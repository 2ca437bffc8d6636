"""Draw one part of a distillation batch: images, variants and features."""

import numpy as np

from keras_espmedsam.distillation.mask_loss import MASKS
from keras_espmedsam.distillation.variants import vary
from keras_espmedsam.errors import InputError
from keras_espmedsam.training.data.batch_sampler import BatchSampler
from keras_espmedsam.training.data.sampling_weights import sampling_weights


class PartDrawing:
    """Draw the images of a part by epoch and number, flipped or turned like their features.

    Args:
        images: `ImageStore` on the student's canvas.
        batch_size, steps, shuffle, augment, seed: see `BatchSampler`.
        balance, weights: see `sampling_weights`.
        modalities: tuple of str, or `None` for batches without modalities.
        targets: `Targets` of the student, or None; see `sampling_weights`.
        one_modality: bool. Draw a modality first, then only images of it.
        caches: dict of teacher name to `TeacherCache`, or to a dict of them by modality.

    Call: `part(epoch, index)` returns the part, a dict of `images` (uint8), `modalities` and
    `targets`, if there are any, the masks (uint8, or None), and which of their channels are
    labelled, bool `(batch, channels)`.

    Raises:
        InputError: for an augmentation together with caches, or a cache without the images.
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
        targets=None,
    ):
        if caches and augment:
            raise InputError(
                "Received an augmentation together with a cache, whose features are those of "
                "images that are only flipped and turned; leave one of the two out."
            )
        self.records = images.records
        self.labelled = images.labelled
        self.seed = seed
        self.indices = None
        if modalities is not None:
            places = [tuple(modalities).index(record.modality) for record in self.records]
            self.indices = np.array(places, "int32")
        groups, shares = sampling_weights(self.records, balance, weights, targets)
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
        # The last number distinguishes this generator from the batch sampler's.
        rng = np.random.default_rng([self.seed, epoch, index, 3])
        # The shorter of two parts starts over.
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
        return part, masks, self.labelled[rows]

    def _features(self, entries, variants):
        found = [
            cache.targets(place, name)
            for (cache, place), name in zip(entries, variants, strict=True)
        ]
        return {name: _stacked(name, [one[name] for one in found]) for name in found[0]}

    def _checked(self, given):
        """Return, for each row, the cache that holds it and its position there."""
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
        """Return the variants that all caches hold, in the order of the first."""
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
    """Return groups and their shares for each modality."""
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


def _stacked(name, arrays):
    """Stack a feature of images; masks of teachers with fewer channels are filled up as unknown."""
    if name == MASKS:
        width = max(array.shape[-1] for array in arrays)
        arrays = [
            np.pad(
                array,
                ((0, 0), (0, 0), (0, width - array.shape[-1])),
                constant_values=-np.inf,
            )
            for array in arrays
        ]
    return np.stack(arrays)


def _moved(batch, variants):
    return np.stack([vary(one, name) for one, name in zip(batch, variants, strict=True)])
