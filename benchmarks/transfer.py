"""A new task for a trained model: its own controller and query, everything, or from scratch.

    ESPMEDSAM_DATA=/path/to/data python benchmarks/transfer.py --output runs/transfer

Fetal heads in ultrasound (hc18), which `espmedsam_nano_256` has never seen, learnt from 10, 30 and
120 images in three ways of equal steps: `add_modality` and training what it added alone; training
all weights of that same extended model; and training it from random weights. Measured on the test
split of the new task and on the test sets of the six old ones. Stopped at any moment, the same
command goes on with the first cell that is not done. Writes transfer.json and .md into docs.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import tempfile
import time

import keras
import numpy as np

import keras_espmedsam as kem
from keras_espmedsam.data import atomic_path, read_index
from keras_espmedsam.training import Augmentation, SegmentationDataset

PRESET, NAME, SOURCE, SIZE = "espmedsam_nano_256@1", "fetal_ultrasound", "ultrasound", (256, 256)
EPOCHS, STEPS, BATCH_SIZE, SEED = 4, 30, 8, 0
COUNTS = (10, 30, 120)
# A rate for each way, by custom and not tuned: new weights learn fast, trained ones slowly.
RATES = {"added": 2e-3, "everything": 5e-4, "scratch": 1.5e-3}
WAYS = {
    "added": "its own controller and query alone",
    "everything": "everything, from the same start",
    "scratch": "everything, from random weights",
}
# (way, training images, modality to start from)
CELLS = [(way, count, SOURCE) for count in COUNTS for way in WAYS if way != "scratch"]
CELLS += [("scratch", count, None) for count in COUNTS]
OTHER_STARTS = [("added", 30, None), ("added", 30, "xray")]
AUGMENT = Augmentation(vertical_flip=0.5, rotation=20, brightness=0.3, contrast=0.3)
DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs" / "reports"


def new_records(index, split):
    """The new task's records, which the index counts as ultrasound, in a fixed random order."""
    records = [dataclasses.replace(r, modality=NAME) for r in read_index(index, [split], ["hc18"])]
    return [records[i] for i in np.random.default_rng(SEED).permutation(len(records))]


def build(way, start):
    """The model to train; all three ways have one architecture."""
    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(PRESET)
    segmenter = segmenter.add_modality(NAME, init_from=start, freeze=way == "added")
    if way != "scratch":
        return segmenter
    return type(segmenter).from_config(segmenter.get_config())


def train(segmenter, rate, records, val, folder):
    """Train in place and leave the weights of the epoch with the best validation Dice."""
    options = dict(modalities=segmenter.modalities, image_size=SIZE)
    dataset = SegmentationDataset(
        records,
        batch_size=BATCH_SIZE,
        steps=STEPS,
        augment={NAME: AUGMENT},
        seed=SEED,
        **options,
    )
    total, warmup = EPOCHS * STEPS, 10
    schedule = keras.optimizers.schedules.CosineDecay(
        rate * 0.05, total - warmup, alpha=0.01, warmup_target=rate, warmup_steps=warmup
    )
    segmenter.compile(keras.optimizers.AdamW(schedule, weight_decay=0.05, global_clipnorm=1.0))
    best = folder / "best.weights.h5"
    keep = keras.callbacks.ModelCheckpoint(
        best, monitor="val_masks_dice", mode="max", save_best_only=True, save_weights_only=True
    )
    history = segmenter.fit(
        dataset,
        validation_data=SegmentationDataset(val, batch_size=BATCH_SIZE, **options),
        epochs=EPOCHS,
        verbose=2,
        callbacks=[keep],
    )
    segmenter.load_weights(best)
    return history.history["val_masks_dice"]


def dice(segmenter, records):
    """Mean and deviation of the Dice of each data set."""
    report = kem.evaluation.evaluate(segmenter, records)
    return {name: row["dice"] for name, row in report["datasets"].items()}


def run(way, count, start, index):
    """One cell: train and measure."""
    keras.utils.set_random_seed(SEED)
    segmenter = build(way, start)
    records = new_records(index, "transfer_train")[:count]
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        val = new_records(index, "transfer_val")
        curve = train(segmenter, RATES[way], records, val, pathlib.Path(folder))
    result = {
        "way": way,
        "images": count,
        "init_from": start,
        "trained": sum(int(np.prod(v.shape)) for v in segmenter.trainable_variables),
        "seconds": time.process_time() - begin,
        "val_dice": curve,
        "new": dice(segmenter, new_records(index, "transfer_test"))["hc18"],
    }
    if way != "scratch":
        result["old"] = dice(segmenter, read_index(index, ["test"]))
    return result


def before(index):
    """The preset as it is: on the old test sets, and on the new one taken for its neighbour."""
    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(PRESET)
    return {
        "old": dice(segmenter, read_index(index, ["test"])),
        "new": dice(segmenter, read_index(index, ["transfer_test"], ["hc18"]))["hc18"],
    }


def mean_old(result):
    return np.mean([row["mean"] for row in result["old"].values()])


def main_table(results):
    lines = [
        "| trained | weights trained | images | Dice, hc18 test | mean Dice of the six old sets "
        "| CPU seconds |",
        "|---|---|---|---|---|---|",
    ]
    start = results["before"]
    lines.append(f"| nothing | 0 | 0 | {_spread(start['new'])} | {mean_old(start):.4f} | |")
    for way, text in WAYS.items():
        for count in COUNTS:
            one = results[_key(way, count, None if way == "scratch" else SOURCE)]
            old = "never learnt" if way == "scratch" else f"{mean_old(one):.4f}"
            lines.append(
                f"| {text} | {one['trained']:,} | {count} | {_spread(one['new'])} | {old} | "
                f"{one['seconds']:.0f} |"
            )
    return "\n".join(lines)


def old_table(results):
    """The old test sets one by one."""
    start = results["before"]["old"]
    cells = [cell for cell in CELLS if cell[0] != "scratch"]
    lines = [
        "| test set | before | "
        + " | ".join(f"{WAYS[way].split(',')[0]}, {count}" for way, count, _ in cells)
        + " |",
        "|---" * (len(cells) + 2) + "|",
    ]
    for name, row in start.items():
        values = [results[_key(*cell)]["old"][name]["mean"] for cell in cells]
        lines.append(f"| {name} | {row['mean']:.4f} | {' | '.join(f'{v:.4f}' for v in values)} |")
    return "\n".join(lines)


def start_table(results):
    lines = ["| controller and query start from | Dice, hc18 test |", "|---|---|"]
    for cell in [("added", 30, SOURCE), *OTHER_STARTS]:
        name = cell[2] or "nothing (a controller that changes nothing, a random query)"
        lines.append(f"| {name} | {_spread(results[_key(*cell)]['new'])} |")
    return "\n".join(lines)


def largest_change(results):
    """Of the old sets' mean Dice, over all cells in which only the new modality was trained."""
    start = results["before"]["old"]
    return max(
        abs(one["old"][name][part] - start[name][part])
        for cell in [*CELLS, *OTHER_STARTS]
        if cell[0] == "added"
        for one in [results[_key(*cell)]]
        for name in start
        for part in ("mean", "std")
    )


DOCUMENT = """\
# A new modality: what it costs the old ones

`{preset}` learns fetal heads in ultrasound (hc18, 40 test images), a task it has never seen.
Written by `benchmarks/transfer.py`; all figures are in [transfer.json](transfer.json).

{main}

Dice per image at its own size, threshold 0.5: mean ± deviation over the images. "Nothing" is
the preset as it is, with the new images taken for breast ultrasound. With the new controller and
query alone trained, the largest change of any old set's mean or deviation is {change:.1e}.

The old test sets one by one:

{old}

Where the controller and query start, with 30 images:

{start}

## How

    ESPMEDSAM_DATA=DATA KERAS_BACKEND={backend} OMP_NUM_THREADS=1 \\
        taskset -c 0 python benchmarks/transfer.py --output runs/transfer

One core of a {cores}-core {machine} machine without GPU, Keras {version} on {backend}. Every run:
{steps} steps of {batch} augmented images of {size} x {size}, the same ones in the same order for
the same number of images; AdamW, cosine decay, rates {rates}, by custom and not tuned; of
{epochs} epochs the one with the best Dice on the 20 images of transfer_val. One seed: a
difference of a point or two between two ways may be chance. From random weights so few steps are
little, and the figure says what a beginner's budget gives, not what that way can reach.
"""


def document(results):
    return DOCUMENT.format(
        preset=PRESET,
        main=main_table(results),
        change=largest_change(results),
        old=old_table(results),
        start=start_table(results),
        backend=keras.config.backend(),
        cores=os.cpu_count(),
        machine=platform.machine(),
        version=keras.__version__,
        steps=EPOCHS * STEPS,
        batch=BATCH_SIZE,
        size=SIZE[0],
        epochs=EPOCHS,
        rates=", ".join(f"{rate:g} ({way})" for way, rate in RATES.items()),
    )


def _spread(row):
    return f"{row['mean']:.3f} ± {row['std']:.3f}"


def _key(way, count, start):
    return f"{way}_{count}_{start or 'nothing'}"


def _write(path, text):
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default=os.environ.get("ESPMEDSAM_DATA"))
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/transfer"))
    parser.add_argument("--docs", type=pathlib.Path, default=DOCS, help="folder of the document")
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("give --data, or set ESPMEDSAM_DATA, to the folder that holds index.csv")
    index = pathlib.Path(arguments.data) / "index.csv"
    jobs = {"before": lambda: before(index)}
    for cell in [*CELLS, *OTHER_STARTS]:
        jobs[_key(*cell)] = lambda cell=cell: run(*cell, index)
    results = {}
    for name, job in jobs.items():
        file = arguments.output / f"{name}.json"
        if not file.exists():
            print(f"== {name}", flush=True)
            file.parent.mkdir(parents=True, exist_ok=True)
            _write(file, json.dumps(job(), indent=2) + "\n")
        results[name] = json.loads(file.read_text(encoding="utf-8"))
        print(f"{name}: {results[name]}", flush=True)
    _write(arguments.docs / "transfer.json", json.dumps(results, indent=2) + "\n")
    _write(arguments.docs / "transfer.md", document(results))
    print(f"Wrote {arguments.docs / 'transfer.md'}")


if __name__ == "__main__":
    main()
