"""All phases of the distillation, end to end, on a slice of real images with a small teacher.

    ESPMEDSAM_DATA=/path/to/data python benchmarks/distill_slice.py --output runs/slice

Writes an index of a few images of each data set and a configuration, runs `espmedsam distill` on
it (a small ViT-Med from scratch on labels, common knowledge, controllers, joint finetune), and
measures teacher and student on the test split after each phase. Stopped at any moment, the same
command goes on. Writes distill_slice.json and .md into docs. A check that everything works
together, not a good model: a few minutes of training on a few images.
"""

import argparse
import csv
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

import keras
import yaml

import keras_espmedsam as kem
from keras_espmedsam.data import atomic_path, read_index
from keras_espmedsam.evaluation import evaluate

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs" / "reports"
COUNTS = {"train": 24, "val": 4, "test": 8}  # images of each data set
SIZE, STEPS, BATCH_SIZE = 128, 40, 8
# Embeddings of one width and stride, so that the decoder can be copied.
WIDTH, STRIDE = 96, 16
TEACHER = {
    "encoder": {
        "kind": "vit_med",
        "hidden_dim": 192,
        "depth": 6,
        "num_heads": 6,
        "patch_size": STRIDE,
        "window_size": 4,
        "global_indices": [2, 5],
        "neck_dim": WIDTH,
    },
    "decoder": {"transformer_num_heads": 4, "transformer_mlp_dim": 256},
}
STUDENT = {
    "encoder": {
        "kind": "tiny_vit",
        "hidden_dims": [24, 64, 128, 192],
        "depths": [1, 2, 4, 2],
        "num_heads": [2, 4, 6],
        "window_sizes": [8, 8, 8],
        "strides": [2, 2, 2],
        "expand_ratio": 3,
        "neck_dim": WIDTH,
        "neck_levels": [0, 1, 2, 3],
        "output_stride": STRIDE,
        "adapter_ratio": 1,
        "adapter_zero_init": True,
    },
    "decoder": TEACHER["decoder"],
}


def write_slice(index, output):
    """The first images of each data set and split, spread over its rows; absolute paths."""
    rows = []
    for split, count in COUNTS.items():
        by_dataset = {}
        for record in read_index(index, [split]):
            by_dataset.setdefault(record.dataset, []).append(record)
        for records in by_dataset.values():
            step = max(len(records) // count, 1)
            rows += records[::step][:count]
    names = ("split", "modality", "dataset", "image", "mask", "group")
    with atomic_path(output) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for record in rows:
            writer.writerow({name: getattr(record, name) for name in names})


def configuration(output, index, epochs):
    """What `espmedsam distill` is given."""
    learning = {"batch_size": BATCH_SIZE, "steps": STEPS, "one_modality_per_batch": False}

    def phase(name, share, rate, **more):
        rates = {"rate": rate, "schedule": "exponential"}
        count = max(round(epochs * share), 1)
        return {"phase": name, "epochs": count, "learning_rate": rates, **learning, **more}

    images = {"sources": [{"index": str(index)}]}
    return {
        "output": str(output),
        "image_size": SIZE,
        "student": STUDENT,
        "medical_teacher": TEACHER,
        # No SAM weights here: the medical teacher is the common one too.
        "common_teachers": [{"name": "vit_med", "preset": str(output / "medical_teacher")}],
        "data": images,
        "common_data": images,
        "cache": {"folder": str(output / "cache"), "variants": ["identity", "hflip"]},
        "phases": [
            phase("teacher", 1.0, 1e-3, parts="all"),
            phase("common", 0.5, 1e-3),
            phase("controllers", 0.5, 1e-3),
            phase("joint", 0.5, 5e-4),
        ],
    }


def measure(segmenter, records):
    """Mean Dice of each data set, and of all."""
    report = evaluate(segmenter, records, batch_size=8)
    dice = {name: row["dice"]["mean"] for name, row in report["datasets"].items()}
    return {**dice, "mean": sum(dice.values()) / len(dice)}


def run(arguments):
    output = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    index, config = output / "slice.csv", output / "distill.yaml"
    if not index.exists():
        write_slice(pathlib.Path(arguments.data) / "index.csv", index)
    config.write_text(yaml.safe_dump(configuration(output / "run", index, arguments.epochs)))
    started = time.perf_counter()
    command = [sys.executable, "-m", "keras_espmedsam.cli.main", "distill", str(config)]
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - started
    records = read_index(index, ["test"])
    load = kem.models.ESPMedSAMImageSegmenter.from_preset
    run_folder = output / "run"
    results = {"teacher": measure(load(run_folder / "medical_teacher"), records)}
    student = load(run_folder / "preset")
    history = {}
    for folder in sorted(run_folder.glob("[0-9]-*")):
        with (folder / "curves.csv").open() as file:
            history[folder.name] = list(csv.DictReader(file))
        # After the common phase the decoder has not been trained yet.
        if folder.name.endswith(("controllers", "joint")):
            student.load_weights(folder / "best.weights.h5")
            results[f"student after {folder.name[2:]}"] = measure(student, records)
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Keras {keras.__version__} on "
        f"{keras.config.backend()}",
        "command": f"python benchmarks/distill_slice.py --epochs {arguments.epochs}",
        "seconds": round(seconds),
        "images_per_dataset": COUNTS,
        "parameters": {
            "teacher": load(run_folder / "medical_teacher").count_params(),
            "student": student.count_params(),
        },
        "dice": results,
        "history": history,
    }


def page(report):
    """The report as a document."""
    names = list(next(iter(report["dice"].values())))
    lines = [
        "# Distillation end to end, on a slice",
        "",
        f"`{report['command']}` ({report['machine']}; {report['seconds']} s of `espmedsam "
        "distill`, other programs ran beside it).",
        "",
        f"{COUNTS['train']} training, {COUNTS['val']} validation and {COUNTS['test']} test "
        f"images of each of six data sets, at {SIZE} x {SIZE}. The teacher is a small ViT-Med "
        f"({report['parameters']['teacher']:,} parameters with its decoder) trained from scratch "
        "on those images; with no weights of SAM at hand it is the common teacher too. The "
        f"student has {report['parameters']['student']:,} parameters. This shows that the phases "
        "work together from one command. It does not show how good a distilled model is.",
        "",
        "Mean Dice on the test images:",
        "",
        "| | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for title, dice in report["dice"].items():
        lines.append(f"| {title} | " + " | ".join(f"{dice[name]:.3f}" for name in names) + " |")
    lines += ["", "Losses, first and last epoch of each phase:", ""]
    for name, rows in report["history"].items():
        first, last = rows[0], rows[-1]
        shown = [key for key in first if key.endswith("loss") or key.endswith("mse")]
        values = ", ".join(
            f"{key} {float(first[key]):.4g} to {float(last[key]):.4g}" for key in shown
        )
        lines.append(f"- {name}, {len(rows)} epochs of {STEPS} steps: {values}")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default=os.environ.get("ESPMEDSAM_DATA"))
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/slice"))
    parser.add_argument("--docs", type=pathlib.Path, default=DOCS)
    parser.add_argument(
        "--epochs", type=int, default=6, help="of the teacher; the others take half"
    )
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("give --data, or set ESPMEDSAM_DATA, to the folder that holds index.csv")
    report = run(arguments)
    text = page(report)
    for name, content in (
        ("distill_slice.json", json.dumps(report, indent=1) + "\n"),
        ("distill_slice.md", text),
    ):
        with atomic_path(arguments.docs / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
