"""Measure calibrated probabilities and guarantees, and write docs/reports/guarantees.md.

    python benchmarks/guarantees.py predict PRESET [--name NAME] [--counts counts.npz]
    python benchmarks/guarantees.py report [--counts counts.npz]

ESPMEDSAM_DATA is the folder that holds index2.csv. `predict` runs the preset once on the val, test
and unseen images, and stores how many pixels of each image have which probability; `report` needs
nothing else, and no backend; the tables are made by `benchmarks/guarantees_report.py`. Targets that
the preset does not have are left out.
"""

import argparse
import json
import os
import pathlib
import platform

import numpy as np

from keras_espmedsam.data import atomic_path
from keras_espmedsam.evaluation.fit_calibration import fit_calibration
from keras_espmedsam.evaluation.pixel_counts import THRESHOLDS
from keras_espmedsam.evaluation.probability_quality import probability_quality
from keras_espmedsam.evaluation.risk_control import (
    choose_threshold,
    conformal_risk_control,
    images_needed,
    losses,
)
from keras_espmedsam.imaging.probability_calibration import calibrated
from keras_espmedsam.inference.guarantees import GUARANTEES

ROOT = pathlib.Path(__file__).resolve().parents[1]
REPORTS = ROOT / "docs" / "reports"
COUNTS = pathlib.Path("guarantees_counts.npz")
SPLITS = ("val", "test", "unseen")
RECALL, FALSE_DISCOVERY_RATE, DICE, CONFIDENCE = 0.9, 0.3, 0.7, 0.9
REPEATS = 100
# How many images of a new place, and the recall that is asked for.
OWN = ((10, 0.9), (10, 0.8), (30, 0.9))


def predict(preset, name, index, output):
    """Store the pixel counts of every image and target of an index."""
    import keras
    import preset_accuracy

    import keras_espmedsam as kem
    from keras_espmedsam.evaluation.target_counts import target_counts
    from keras_espmedsam.export.description import preset_name

    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(preset)
    records = preset_accuracy.records_of(index, segmenter, SPLITS)
    done = []

    def progress(count):
        done.append(count)
        if len(done) % 16 == 0:
            print(f"{sum(done)} of {len(records)} images", flush=True)

    keys, counts = [], []
    for one in target_counts(segmenter, records, progress=progress):
        record = one.record
        keys.append((record.split, record.modality, one.target, record.dataset, record.group))
        counts.append(one.counts.astype("int32"))
    with atomic_path(output) as temporary:
        np.savez_compressed(
            temporary,
            keys=json.dumps(keys),
            counts=np.stack(counts),
            preset=name or preset_name(preset),
            machine=f"{platform.machine()}, one of {os.cpu_count()} CPU cores",
            keras=f"{keras.__version__} on {keras.backend.backend()}",
        )
    print(f"Wrote {output}: {len(keys)} images and targets.")


class Counts:
    """Pixel counts by split, target and data set."""

    def __init__(self, path):
        with np.load(path) as stored:
            self.keys = np.array(json.loads(str(stored["keys"])))
            self.counts = stored["counts"].astype(int)
            self.about = {name: str(stored[name]) for name in ("preset", "machine", "keras")}
        self.targets = list(
            dict.fromkeys((modality, target) for _, modality, target, *_ in self.keys)
        )

    def of(self, modality, target, split, dataset=None):
        """The counts of one target in one split, or in one of its data sets."""
        keys = self.keys
        own = (keys[:, 0] == split) & (keys[:, 1] == modality) & (keys[:, 2] == target)
        return self.counts[own & ((keys[:, 3] == dataset) if dataset else True)]

    def datasets(self, modality, target, split):
        """The data sets of one target in one split."""
        return list(
            dict.fromkeys(
                dataset
                for own_split, own_modality, own_target, dataset, _ in self.keys
                if (own_split, own_modality, own_target) == (split, modality, target)
            )
        )


def calibration_rows(stored):
    """ECE, Brier score and Dice of each target and data set, with and without calibration."""
    rows = []
    for modality, target in stored.targets:
        val = stored.of(modality, target, "val")
        if not len(val):
            continue
        fits = {"none": {}, "temperature": fit_calibration(val), "bias": fit_calibration(val, True)}
        for split in ("test", "unseen"):
            for dataset in stored.datasets(modality, target, split):
                counts = stored.of(modality, target, split, dataset)
                row = {"modality": modality, "target": target, "split": split, "dataset": dataset}
                row |= {"images": len(counts), "val_images": len(val), "options": fits}
                for name, options in fits.items():
                    found = probability_quality(counts, **options)
                    row[name] = {"ece": found.ece, "brier": found.brier}
                    # The mask where the calibrated probability is at least 0.5.
                    half = np.searchsorted(calibrated(THRESHOLDS, **options), 0.5)
                    at_half = losses("dice", counts)[:, min(half, len(THRESHOLDS) - 1)]
                    row[name]["dice"] = float(1 - at_half.mean())
                rows.append(row)
    return rows


def split_rows(stored):
    """Recall over random halves of the test images, and how often learn then test is wrong."""
    rows = []
    for modality, target in stored.targets:
        counts = stored.of(modality, target, "test")
        half = len(counts) // 2
        if half < images_needed("recall", 1 - RECALL, CONFIDENCE):
            continue
        row = {"modality": modality, "target": target, "images": len(counts)}
        each = losses("recall", counts)
        rng = np.random.default_rng(0)
        found = []
        for _ in range(REPEATS):
            order = rng.permutation(len(each))
            number = conformal_risk_control(each[order[:half]], 1 - RECALL)
            found.append(1 - each[order[half:], number].mean())
        row["recall"] = _spread(found) | {"halves_below": int(np.sum(np.array(found) < RECALL))}
        for risk, rate in (("false_discovery_rate", FALSE_DISCOVERY_RATE), ("dice", 1 - DICE)):
            row[risk] = _errors(risk, losses(risk, counts), rate, rng)
        rows.append(row)
    return rows


def _spread(values):
    values = np.array(values)
    error = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return {"mean": values.mean(), "low": values.mean() - error, "high": values.mean() + error}


def _errors(risk, each, rate, rng):
    """Draw images with replacement, so that the test images are all there is, and known."""
    from scipy.stats import binomtest

    shown = wrong = 0
    for _ in range(REPEATS):
        drawn = each[rng.integers(0, len(each), len(each))]
        number = choose_threshold(risk, drawn, rate, CONFIDENCE)
        if number is not None:
            shown += 1
            wrong += bool(each[:, number].mean() > rate)
    interval = binomtest(wrong, REPEATS).proportion_ci()
    return {"shown": shown, "wrong": wrong, "low": interval.low, "high": interval.high}


def place_rows(stored):
    """The recall of each data set at the threshold of val, and at that of ten of its own images."""
    rows = []
    for modality, target in stored.targets:
        val = losses("recall", stored.of(modality, target, "val"))
        number = conformal_risk_control(val, 1 - RECALL)
        if number is None:
            continue
        for split in ("test", "unseen"):
            for dataset in stored.datasets(modality, target, split):
                counts = stored.of(modality, target, split, dataset)
                row = {"modality": modality, "target": target, "split": split, "dataset": dataset}
                row |= {"images": len(counts), "val_images": len(val)}
                row["val"] = _means(counts, number)
                row["half"] = _means(counts, int(THRESHOLDS.searchsorted(0.5)))
                # The others measure what was found.
                row["own"] = {
                    f"{few} images, recall {level}": _own(counts, few, level)
                    for few, level in OWN
                    if len(counts) >= 1.2 * few
                }
                rows.append(row)
    return rows


def _means(counts, number):
    found = {risk: float(losses(risk, counts)[:, number].mean()) for risk in GUARANTEES}
    return found | {"recall": 1 - found["recall"], "dice": 1 - found["dice"]}


def _own(counts, few, level):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(REPEATS):
        order = rng.permutation(len(counts))
        number = conformal_risk_control(losses("recall", counts[order[:few]]), 1 - level)
        if number is not None:  # Some images may not show the target.
            found.append(_means(counts[order[few:]], number))
    means = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    return means | {"interval": _spread([one["recall"] for one in found])}


def report(path, output=REPORTS):
    """Write guarantees.json, guarantees.md and guarantees.png."""
    from guarantees_report import draw, written

    stored = Counts(path)
    found = {
        "about": stored.about,
        "levels": {"recall": RECALL, "dice": DICE, "false_discovery_rate": FALSE_DISCOVERY_RATE},
        "calibration": calibration_rows(stored),
        "splits": split_rows(stored),
        "places": place_rows(stored),
    }
    text = json.dumps(found, indent=1, default=float)
    page = written(json.loads(text))
    for path, own in (("guarantees.json", text + "\n"), ("guarantees.md", page)):
        with atomic_path(output / path) as temporary:
            temporary.write_text(own, encoding="utf-8")
    with atomic_path(output / "guarantees.png") as temporary:
        draw(stored, temporary)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("predict", "report"))
    parser.add_argument("preset", nargs="?", default="espmedsam_nano_256")
    parser.add_argument("--name", help="of a folder in the report, with its version")
    parser.add_argument("--counts", type=pathlib.Path, default=COUNTS)
    arguments = parser.parse_args()
    if arguments.step == "predict":
        index = pathlib.Path(os.environ.get("ESPMEDSAM_DATA", "")) / "index2.csv"
        if not index.is_file():
            parser.error("set ESPMEDSAM_DATA to the folder that holds index2.csv.")
        predict(arguments.preset, arguments.name, index, arguments.counts)
    else:
        report(arguments.counts)
