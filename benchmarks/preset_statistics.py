"""Means and bootstrap intervals of what `preset_accuracy.py measure` wrote, for page and card.

A set's mean is over its images, a target's over the sets that label it, a modality's over its
targets, and the mean of all over the modalities. Intervals are 95 %, by drawing the images of each
set anew; the targets of an image are drawn together, and so are two presets on the same images.
"""

import json
import pathlib

import numpy as np

DRAWS = 2000
SPLITS = ("test", "unseen")


def load(folder, name):
    """What was measured of a preset, by its name with version."""
    return json.loads((pathlib.Path(folder) / f"{name}.json").read_text(encoding="utf-8"))


def rows_of(result, split):
    """The rows of a split: one for each image and target."""
    return [row for row in result["images"] if row["split"] == split]


def common_rows(one, other, split):
    """The rows of two presets for the images and targets that both have, in one order."""
    found = [
        {(row["dataset"], row["image"], row["target"]): row for row in rows_of(result, split)}
        for result in (one, other)
    ]
    keys = sorted(found[0].keys() & found[1].keys())
    return [[rows[key] for key in keys] for rows in found]


class Means:
    """The means of some rows, and of the same rows drawn anew.

    Args:
        rows: list of dict with `modality`, `dataset`, `target`, `image` and measures.
        measure: str. A value that is None is left out.
        other: rows of the same images and targets, whose values are subtracted; or None.
        draws: int. How often the images are drawn anew.
    """

    def __init__(self, rows, measure="dice", other=None, draws=DRAWS):
        images = {}
        for row in rows:
            images.setdefault(row["dataset"], {}).setdefault(row["image"])
        rng = np.random.default_rng(0)
        drawn, places = {}, {}
        for dataset in sorted(images):
            names = sorted(images[dataset])
            places[dataset] = {name: number for number, name in enumerate(names)}
            drawn[dataset] = rng.integers(0, len(names), (draws, len(names)))
        values = {}
        for number, row in enumerate(rows):
            key = row["modality"], row["target"], row["dataset"]
            array = values.setdefault(key, np.full(len(places[row["dataset"]]), np.nan))
            value = row[measure]
            if other is not None and value is not None:
                its = other[number][measure]
                value = None if its is None else value - its
            if value is not None:
                array[places[row["dataset"]][row["image"]]] = value
        self.counts = {key: int((~np.isnan(array)).sum()) for key, array in values.items()}
        self.sets = {
            key: np.concatenate([[_mean(array)], _mean(array[drawn[key[2]]])])
            for key, array in sorted(values.items())
            if self.counts[key]
        }

    def of_set(self, modality, target, dataset):
        """A set's mean and its interval."""
        return interval(self.sets[modality, target, dataset])

    def of_target(self, modality, target):
        """The mean of the sets of a target, and its interval."""
        return interval(self._target(modality, target))

    def of_modality(self, modality):
        """The mean of a modality's targets, and its interval."""
        return interval(self._modality(modality))

    def of_all(self):
        """The mean of the modalities, and its interval."""
        return interval(np.mean([self._modality(one) for one in self.modalities()], axis=0))

    def modalities(self):
        """The modalities that were measured."""
        return sorted({modality for modality, _, _ in self.sets})

    def targets(self, modality):
        """A modality's targets that were measured."""
        return sorted({target for own, target, _ in self.sets if own == modality})

    def _target(self, modality, target):
        own = [means for key, means in self.sets.items() if key[:2] == (modality, target)]
        return np.mean(own, axis=0)

    def _modality(self, modality):
        return np.mean([self._target(modality, one) for one in self.targets(modality)], axis=0)


def _mean(values):
    """The mean along the last axis, without NaN; NaN where nothing is left."""
    counts = (~np.isnan(values)).sum(-1)
    sums = np.nansum(values, axis=-1)
    return np.divide(sums, counts, out=np.full(np.shape(sums), np.nan), where=counts > 0)


def interval(means):
    """The first of some means, and the 95 % interval of the others."""
    low, high = np.nanpercentile(means[1:], [2.5, 97.5])
    return float(means[0]), float(low), float(high)


def subgroup_rows(result, least=3):
    """What differs within the data sets.

    Returns:
        list of `(split, dataset, target, subgroup, dice values)`, of the data sets that have
        several subgroups of at least `least` images.
    """
    found = {}
    for row in result["images"]:
        if row["subgroup"]:
            key = row["split"], row["dataset"], row["target"]
            found.setdefault(key, {}).setdefault(row["subgroup"], []).append(row["dice"])
    rows = []
    for key, groups in sorted(found.items()):
        if len(groups) > 1 and all(len(values) >= least for values in groups.values()):
            rows += [(*key, name, np.array(values)) for name, values in sorted(groups.items())]
    return rows


def calibration_error(counts):
    """Mean distance of the probability given from the share of foreground, weighted by pixels."""
    number, said, true = np.array(counts)
    held = number > 0
    return float(np.abs(said[held] - true[held]).sum() / number.sum())
