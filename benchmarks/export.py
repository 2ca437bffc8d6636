"""Every preset with weights in every format: size, time and what it is worth on real pictures.

    ESPMEDSAM_DATA=DATA KERAS_BACKEND=torch python benchmarks/export.py [PRESET ...]

writes docs/export_formats.json after each artefact, skipping what is there, and from it
docs/export_formats.md. Artefacts are of the `pictures` flavour, of all modalities, at the preset's
size. Quality is of val: up to 20 pictures of each modality, apart from those that calibrate int8.
"""

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

import keras_espmedsam as kem
from keras_espmedsam._files import atomic_path
from keras_espmedsam.cli.loading import load_task
from keras_espmedsam.export.comparison import made_picture
from keras_espmedsam.export.description import files_of
from keras_espmedsam.export.formats import FORMATS
from keras_espmedsam.export.quantization_data import chosen_records, quality
from keras_espmedsam.export.request import make_request
from keras_espmedsam.export.runtimes import RUNTIMES
from keras_espmedsam.models.picture_batches import predict_prepared

DOCS = Path(__file__).resolve().parents[1] / "docs"
# The native one takes pictures of any size; what is exported has the size of most of them.
PRESETS = {
    "espmedsam_nano_256": (256, 256),
    "espmedsam_tic_native": (256, 256),
    "tic_tiny_modality": None,
}
REPEATS = 15


def main():
    path = DOCS / "export_formats.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    records = kem.data.read_index(Path(os.environ["ESPMEDSAM_DATA"]) / "index.csv", ("val",))
    for preset in sys.argv[1:] or PRESETS:
        task = load_task(preset)
        _, measuring = chosen_records(task, records)
        for chosen in FORMATS.values():
            for precision in ("float32", "float16", "int8"):
                key = f"{preset} {chosen.name} {precision}"
                if key in found:
                    continue
                found[key] = measure(task, chosen, precision, PRESETS[preset], records, measuring)
                found[key]["machine"] = f"{platform.machine()}, {os.cpu_count()} CPU cores"
                found[key]["backend"] = keras.backend.backend()
                print(key, found[key], flush=True)
                with atomic_path(path) as temporary:
                    temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write_table(found)


def measure(task, chosen, precision, size, records, measuring):
    """One artefact: its figures, or why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{chosen.suffix}"
        options = {"calibration": records} if precision == "int8" else {}
        try:
            done = task.export_for(chosen.name, path, size=size, precision=precision, **options)
        except kem.errors.InputError as error:
            return {"refused": str(error)}
        runtime = RUNTIMES[chosen.name](path)
        request = make_request(
            task, chosen.name, path, size=size, precision=precision, overwrite=True
        )
        if precision == "int8":
            worth = done["quality"]
        else:
            worth = quality(task, request, done, runtime, measuring)
        return {
            "megabytes": round(sum(file.stat().st_size for file in files_of(path)) / 1e6, 2),
            "difference": done.get("difference"),
            "ratio": time_ratio(task, request, runtime),
            "quality": worth,
        }


def time_ratio(task, request, runtime):
    """Time of the artefact over that of the Keras model's `predict`, one picture, interleaved."""
    picture = made_picture(np.random.default_rng(0), request.size)[None]
    inputs = {"images": picture}
    prepared = {"images": picture.astype("float32")}
    if isinstance(task.output, dict) and len(task.modalities) > 1:
        inputs["modalities"] = prepared["modalities"] = np.zeros(1, "int32")
    given = prepared if isinstance(task.input, dict) else prepared["images"]
    times = ([], [])
    for _ in range(REPEATS + 2):
        for spent, run in zip(
            times, (lambda: runtime(inputs), lambda: predict_prepared(task, given)), strict=True
        ):
            begin = time.perf_counter()
            run()
            spent.append(time.perf_counter() - begin)
    artefact, model = (statistics.median(spent[2:]) for spent in times)
    return round(artefact / model, 2)


def write_table(found):
    lines = [
        "# Formats, measured",
        "",
        "    ESPMEDSAM_DATA=DATA KERAS_BACKEND=torch python benchmarks/export.py",
        "",
        "Size of the artefact; time of one picture over that of the Keras model's `predict` in the",
        "same process; mean Dice of the data sets on val pictures (of the classifier, the share",
        "classed as by the Keras model) beside the Keras model's.",
        "",
        "| preset | format | precision | MB | time | exported | Keras |",
        "|---|---|---|---|---|---|---|",
    ]
    refused = []
    for key, one in found.items():
        preset, name, precision = key.split()
        if "refused" in one:
            refused.append(f"- {preset}, {name}, {precision}: {one['refused']}")
            continue
        worth = one["quality"]
        lines.append(
            f"| {preset} | {name} | {precision} | {one['megabytes']} | {one['ratio']} | "
            f"{worth['exported']:.4f} | {worth['keras']:.4f} |"
        )
    last = next(reversed(found.values()))
    lines += ["", f"{last['machine']}; Keras on {last['backend']}.", "", "Refused:", "", *refused]
    with atomic_path(DOCS / "export_formats.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
