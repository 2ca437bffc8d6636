"""How far the predicted quality of masks can be trusted, at home and in unseen data sets.

    ESPMEDSAM_DATA=/path/to/data python benchmarks/trust.py measure --output runs/trust.json
    python benchmarks/trust.py report --input runs/trust.json --page docs/reports/trust.md

`measure` loads a preset, fits the prediction on the val images if the preset has none, segments the
images of val, test and unseen, and then corrupted copies of some val images; it also takes the time
of a pass with the prediction and without. `report` compares the prediction with the true Dice:
Pearson's and Spearman's correlation, the mean absolute error, and the area under the risk-coverage
curve, where masks are accepted from the best predicted one on and the risk is the mean of 1 - Dice
of those accepted. Beside it stand an oracle that knows the Dice, and two predictions that need no
labels: the mean entropy of the probabilities, and the Dice that is expected under them.

The threshold of acceptance is chosen on val: the smallest for which 95 % of the accepted masks have
a Dice of at least 0.8.
"""

import argparse
import io
import json
import os
import pathlib
import platform
import time

import numpy as np
from PIL import Image, ImageFilter
from scipy.stats import spearmanr

from keras_espmedsam.data import atomic_path, read_index, read_targets
from keras_espmedsam.evaluation import dice
from keras_espmedsam.imaging.intensity import already_read

PRESET = "espmedsam_nano_256"
SPLITS = ("val", "test", "unseen")
GOOD, SHARE = 0.8, 0.95
CORRUPTED_IMAGES, SEED = 6, 0
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
    """At most so many records of each data set, target and split, evenly spread."""
    groups = {}
    for record in records:
        targets = tuple(one.target for one in record.target_masks)
        groups.setdefault((record.split, record.dataset, targets), []).append(record)
    found = []
    for own in groups.values():
        step = max(1, len(own) / count) if count else 1
        found += [own[int(i * step)] for i in range(int(len(own) / step))]
    return found


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
            "dice": float(dice(truth, mask)),
            "quality": result["quality"].get(target),
            "entropy": entropy(probabilities),
            "expected": expected_dice(mask, probabilities),
        }
        rows.append({**row, **more})
    return rows


def seconds_of_a_pass(segmenter, rounds=15):
    converter = segmenter.image_converter
    image = np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype="uint8")
    batch = converter.convert(image)[None], np.zeros(1, "int32")
    plain = segmenter.with_quality(None)
    runs = {"with": segmenter.predict_with_quality, "without": plain.predict_probabilities}
    times = {name: [] for name in runs}
    for number in range(rounds + 3):
        for name, run in runs.items():
            start = time.perf_counter()
            run(*batch)
            if number >= 3:
                times[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


def measure(preset, index, output, count):
    from keras_espmedsam.export.description import preset_name
    from keras_espmedsam.models import ESPMedSAMImageSegmenter

    segmenter = ESPMedSAMImageSegmenter.from_preset(preset)
    records = [one for one in read_index(index, SPLITS) if one.modality in segmenter.modalities]
    records = chosen(records, count)
    val = [one for one in records if one.split == "val"]
    if not segmenter.quality:
        start = time.perf_counter()
        segmenter = segmenter.fit_quality(val)
        print(f"Fitted on {len(val)} images in {time.perf_counter() - start:.0f} s.", flush=True)
    rows, corrupted = [], []
    for record in records:
        for image, found in read_targets(record):
            masks = {name: one.mask for name, one in found.items()}
            rows += measured(segmenter, image.array, record, masks)
    rng = np.random.default_rng(SEED)
    for record in chosen(val, CORRUPTED_IMAGES):
        for image, found in read_targets(record):
            masks = {name: one.mask for name, one in found.items()}
            pixels = image.array
            pixels = np.stack([pixels] * 3, axis=-1) if pixels.ndim == 2 else pixels[..., :3]
            for kind in KINDS:
                for strength in STRENGTHS:
                    worse = corrupt(pixels, kind, strength, rng)
                    how = {"kind": kind, "strength": strength}
                    corrupted += measured(segmenter, worse, record, masks, **how)
    found = {
        "preset": preset_name(preset),
        "images_of_a_group": count,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "seconds": seconds_of_a_pass(segmenter),
        "rows": rows,
        "corrupted": corrupted,
    }
    with atomic_path(output) as temporary:
        temporary.write_text(json.dumps(found) + "\n", encoding="utf-8")


def area_of_risk(scores, truth):
    """Area under the risk-coverage curve: the mean risk over all numbers of accepted masks."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    return float(np.mean(np.cumsum(1 - truth[order]) / np.arange(1, len(truth) + 1)))


def summary(rows):
    """Figures of some masks that have a predicted quality."""
    truth, quality, entropies, expected = (
        np.array([row[name] for row in rows]) for name in ("dice", "quality", "entropy", "expected")
    )
    varies = len(rows) > 2 and truth.std() > 0 and quality.std() > 0
    return {
        "masks": len(rows),
        "dice": float(truth.mean()),
        "predicted": float(quality.mean()),
        "pearson": float(np.corrcoef(truth, quality)[0, 1]) if varies else None,
        "spearman": float(spearmanr(truth, quality)[0]) if varies else None,
        "error": float(np.abs(truth - quality).mean()),
        "risk": area_of_risk(quality, truth),
        "risk_oracle": area_of_risk(truth, truth),
        "risk_entropy": area_of_risk(-entropies, truth),
        "risk_expected": area_of_risk(expected, truth),
        "risk_random": float(1 - truth.mean()),
    }


def threshold_of(rows):
    """The smallest threshold for which enough of the accepted masks are good; None for none."""
    ordered = sorted(rows, key=lambda row: -row["quality"])
    good = np.cumsum([row["dice"] >= GOOD for row in ordered])
    enough = np.flatnonzero(good / np.arange(1, len(ordered) + 1) >= SHARE)
    return ordered[enough[-1]]["quality"] if enough.size else None


def figures(found):
    """All that the page shows, by split, data set and corruption."""
    rows = [row for row in found["rows"] if row["quality"] is not None]
    least = threshold_of([row for row in rows if row["split"] == "val"])
    splits, datasets, accepted = {}, {}, {}
    for split in SPLITS:
        own = [row for row in rows if row["split"] == split]
        splits[split] = summary(own)
        keys = dict.fromkeys((row["dataset"], row["target"]) for row in own)
        for key in keys:
            group = [row for row in own if (row["dataset"], row["target"]) == key]
            datasets[f"{split}: {key[0]}, {key[1]}"] = summary(group)
        taken = [row for row in own if least is not None and row["quality"] >= least]
        accepted[split] = {
            "share": len(taken) / len(own),
            "good": float(np.mean([row["dice"] >= GOOD for row in taken])) if taken else None,
            "good_of_all": float(np.mean([row["dice"] >= GOOD for row in own])),
        }
    curves = {}
    for row in found["corrupted"]:
        if row["quality"] is not None:
            curves.setdefault((row["kind"], row["strength"]), []).append(row)
    curves = [
        {"kind": kind, "strength": strength, **_means(own)}
        for (kind, strength), own in curves.items()
    ]
    kept = {name: value for name, value in found.items() if name not in ("rows", "corrupted")}
    return {
        **kept,
        "threshold": least,
        "splits": splits,
        "accepted": accepted,
        "datasets": datasets,
        "corrupted": curves,
    }


def _means(rows):
    return {name: float(np.mean([row[name] for row in rows])) for name in ("dice", "quality")}


def _cell(value, digits=3):
    if value is None:
        return ""
    return str(value) if isinstance(value, int | str) else f"{value:.{digits}f}"


def _table(titles, rows):
    yield "| " + " | ".join(titles) + " |"
    yield "|" + "---|" * len(titles)
    for row in rows:
        yield "| " + " | ".join(map(_cell, row)) + " |"
    yield ""


COLUMNS = {
    "masks": "masks",
    "dice": "Dice",
    "predicted": "predicted",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "error": "absolute error",
    "risk": "risk",
    "risk_oracle": "of an oracle",
    "risk_expected": "of the expected Dice",
    "risk_entropy": "of the mean entropy",
    "risk_random": "of chance",
}


def page(made):
    """Lines of the report."""
    seconds = made["seconds"]
    yield "# How far predicted quality can be trusted\n"
    yield f"Of `{made['preset']}`, by `benchmarks/trust.py` on {made['machine']}; its docstring"
    yield "says how. Risk is the area under the risk-coverage curve: smaller is better.\n"
    rows = [[name, *(own[key] for key in COLUMNS)] for name, own in made["splits"].items()]
    yield from _table(["split", *COLUMNS.values()], rows)
    yield "## What a reader saves\n"
    yield f"Accepted are masks with a predicted Dice of at least {_cell(made['threshold'])}, for"
    yield f"which {SHARE:.0%} of the accepted masks of val have a Dice of at least {GOOD}.\n"
    rows = [
        [name, own["share"], own["good"], own["good_of_all"]]
        for name, own in made["accepted"].items()
    ]
    good = f"of these, Dice of at least {GOOD}"
    yield from _table(["split", "share accepted", good, "of all masks"], rows)
    yield "## Each data set and target\n"
    rows = [[name, *(own[key] for key in COLUMNS)] for name, own in made["datasets"].items()]
    yield from _table(["data set", *COLUMNS.values()], rows)
    yield "## Images of poor quality\n"
    rows = [
        [one["kind"], one["strength"], one["dice"], one["quality"]] for one in made["corrupted"]
    ]
    yield from _table(["images", "strength", "Dice", "predicted"], rows)
    yield "## Time\n"
    more = seconds["with"] / seconds["without"] - 1
    yield f"A pass of one image takes {1000 * seconds['with']:.1f} ms with the prediction and"
    yield f"{1000 * seconds['without']:.1f} ms without ({more:+.1%}; medians of one run, in turn)."


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["measure", "report"])
    parser.add_argument("--preset", default=PRESET)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/trust.json"))
    parser.add_argument("--images", type=int, default=0, help="of a data set and target; 0: all")
    parser.add_argument("--input", type=pathlib.Path, default=pathlib.Path("runs/trust.json"))
    parser.add_argument("--page", type=pathlib.Path, help="beside it, a JSON file; else print it")
    given = parser.parse_args(arguments)
    if given.what == "measure":
        index = pathlib.Path(os.environ.get("ESPMEDSAM_DATA", "")) / "index2.csv"
        if not index.is_file():
            parser.error("set ESPMEDSAM_DATA to the folder that holds index2.csv.")
        measure(given.preset, index, given.output, given.images)
        return
    made = figures(json.loads(given.input.read_text(encoding="utf-8")))
    text = "\n".join(page(made)) + "\n"
    if given.page is None:
        print(text)
        return
    for path, own in (
        (given.page, text),
        (given.page.with_suffix(".json"), json.dumps(made, indent=1) + "\n"),
    ):
        with atomic_path(path) as temporary:
            temporary.write_text(own, encoding="utf-8")


if __name__ == "__main__":
    main()
