"""Measure how far the predicted quality of masks can be trusted, at home and in unseen data sets.

    ESPMEDSAM_DATA=DATA python benchmarks/trust.py measure --output runs/trust.json
    python benchmarks/trust.py report --input runs/trust.json --times runs/pass_times.json

`measure` segments the images of val, test and unseen, and corrupted copies of some val images. If
the preset has no prediction, it is fitted on the val images first. `report` writes
docs/reports/trust.md with its figures, its plots and the times of `benchmarks/pass_times.py`; see
`benchmarks/trust_figures.py` for what is computed, and `benchmarks/trust_report.py`.
"""

import argparse
import io
import json
import os
import pathlib
import platform

import numpy as np
from PIL import Image, ImageFilter
from preset_accuracy import records_of, some_of_each

from keras_espmedsam.data import atomic_path, read_targets
from keras_espmedsam.evaluation import dice
from keras_espmedsam.imaging.intensity import already_read

PRESET = "espmedsam_nano_256"
PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "reports" / "trust.md"
SPLITS = ("val", "test", "unseen")
CORRUPTED_IMAGES, SEED = 5, 0
# By kind: what is done at a strength from 0 to 1.
STRENGTHS = (0.0, 0.25, 0.5, 1.0)


def corrupt(image, kind, strength, rng):
    """A worse copy of a uint8 image `(height, width, 3)`; of strength 0, the image."""
    if not strength:
        return image
    if kind == "blurred":
        radius = 0.03 * strength * max(image.shape[:2])
        return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))
    if kind == "dark":
        return (image * (1 - 0.9 * strength)).astype("uint8")
    if kind == "noisy":
        return (image + rng.normal(0, 60 * strength, image.shape)).clip(0, 255).astype("uint8")
    stored = io.BytesIO()
    Image.fromarray(image).save(stored, "JPEG", quality=max(1, int(40 - 38 * strength)))
    return np.asarray(Image.open(stored).convert("RGB"))


KINDS = ("blurred", "dark", "noisy", "compressed")


def chosen(records, count):
    """At most so many records of each data set of a split, evenly spread; all for 0."""
    if not count:
        return list(records)
    splits = {}
    for record in records:
        splits.setdefault(record.split, []).append(record)
    return [one for own in splits.values() for one in some_of_each(own, count)]


def entropy(probabilities):
    p = np.clip(probabilities, 1e-6, 1 - 1e-6)
    return float(np.mean(-(p * np.log(p) + (1 - p) * np.log(1 - p))))


def expected_dice(mask, probabilities):
    return float(2 * probabilities[mask].sum() / max(mask.sum() + probabilities.sum(), 1e-6))


def measured(segmenter, image, record, masks, **more):
    """Rows of one image: the true Dice of each labelled target, and what predicts it."""
    result = segmenter.segment(image, record.modality, **already_read(segmenter))
    rows = []
    for name, truth in masks.items():
        target = name or result["targets"][0]
        number = result["targets"].index(target)
        mask, probabilities = (
            value if value.ndim == 2 else value[..., number]
            for value in (result["masks"], result["probabilities"])
        )
        row = {
            "split": record.split,
            "dataset": record.dataset,
            "modality": record.modality,
            "target": target,
            "image": pathlib.Path(record.image).name,
            "dice": float(dice(truth, mask)),
            "quality": result["quality"].get(target),
            "entropy": entropy(probabilities),
            "expected": expected_dice(mask, probabilities),
        }
        rows.append({**row, **more})
    return rows


def measure(preset, name, index, output, count):
    """Measure one preset, into a JSON file."""
    import keras

    from keras_espmedsam.evaluation.fit_quality import measure_masks
    from keras_espmedsam.export.description import preset_name
    from keras_espmedsam.models import ESPMedSAMImageSegmenter

    segmenter = ESPMedSAMImageSegmenter.from_preset(preset)
    records = chosen(records_of(index, segmenter, SPLITS), count)
    val = [one for one in records if one.split == "val"]
    if not segmenter.quality:
        segmenter = segmenter.fit_quality(val)
    found = {
        "preset": name or preset_name(preset),
        "images_of_a_set": count,
        "machine": f"{platform.machine()}, one of {os.cpu_count()} CPU cores",
        "keras": f"{keras.__version__} on {keras.backend.backend()}",
    }
    found["statistics"] = [
        {**one._asdict(), "statistics": [float(value) for value in one.statistics]}
        for one in measure_masks(segmenter, val)
    ]
    print(f"{len(val)} val images: statistics", flush=True)
    rows, corrupted = [], []
    for record in records:
        for image, found_masks in read_targets(record):
            masks = {name: one.mask for name, one in found_masks.items()}
            rows += measured(segmenter, image.array, record, masks)
    print(f"{len(rows)} masks of {len(records)} images", flush=True)
    rng = np.random.default_rng(SEED)
    for record in some_of_each(val, CORRUPTED_IMAGES):
        for image, found_masks in read_targets(record):
            masks = {name: one.mask for name, one in found_masks.items()}
            pixels = image.array
            pixels = np.stack([pixels] * 3, axis=-1) if pixels.ndim == 2 else pixels[..., :3]
            for kind in KINDS:
                for strength in STRENGTHS:
                    worse = corrupt(pixels, kind, strength, rng)
                    how = {"kind": kind, "strength": strength}
                    corrupted += measured(segmenter, worse, record, masks, **how)
    with atomic_path(output) as temporary:
        text = json.dumps({**found, "rows": rows, "corrupted": corrupted})
        temporary.write_text(text + "\n", encoding="utf-8")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["measure", "report"])
    parser.add_argument("--preset", default=PRESET)
    parser.add_argument("--name", help="of a folder in the report, with its version")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/trust.json"))
    parser.add_argument("--images", type=int, default=0, help="the most of a data set; 0: all")
    parser.add_argument("--input", type=pathlib.Path, default=pathlib.Path("runs/trust.json"))
    parser.add_argument("--times", type=pathlib.Path, default=pathlib.Path("runs/pass_times.json"))
    parser.add_argument("--page", type=pathlib.Path, default=PAGE)
    given = parser.parse_args(arguments)
    if given.what == "report":
        from trust_report import write

        found, times = (
            json.loads(path.read_text(encoding="utf-8")) for path in (given.input, given.times)
        )
        write({**found, "times": times}, given.page)
        return
    index = pathlib.Path(os.environ.get("ESPMEDSAM_DATA", "")) / "index2.csv"
    if not index.is_file():
        parser.error("set ESPMEDSAM_DATA to the folder that holds index2.csv.")
    measure(given.preset, given.name, index, given.output, given.images)


if __name__ == "__main__":
    main()
