"""Every preset with weights in every format: size, time and what it is worth on real images.

    ESPMEDSAM_DATA=DATA python benchmarks/export.py quality [PRESET ...]
    KERAS_BACKEND=torch python benchmarks/export.py time [PRESET ...]

The first exports to runs/export and measures what the artefacts are worth; the second, for a quiet
machine, how fast they are. Both write docs/reports/export_formats.json after each artefact,
skipping what it holds, and from it docs/reports/export_formats.md. Artefacts are of the `images`
flavour, of all modalities, at the preset's size. Quality is of val: up to 20 images of each
modality, apart from those that calibrate int8.
"""

import functools
import json
import os
import platform
import sys
from pathlib import Path

import keras
import numpy as np
from interleaved import medians

import keras_espmedsam as kem
from keras_espmedsam.cli.loading import load_task
from keras_espmedsam.data import atomic_path
from keras_espmedsam.export.comparison import made_image
from keras_espmedsam.export.formats import PRECISIONS, all_formats
from keras_espmedsam.export.quantization_data import chosen_records
from keras_espmedsam.export.quantization_data import quality as measured_quality
from keras_espmedsam.export.request import make_request

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs" / "reports"
ARTEFACTS = ROOT / "runs/export"
FORMATS = {one.name: one for one in all_formats()}
# The native one takes images of any size; what is exported has the size of most of them.
PRESETS = {
    "espmedsam_nano_256": (256, 256),
    "espmedsam_tic_native": (256, 256),
    "tic_tiny_modality": None,
}
KEYS = [
    f"{preset} {format} {precision}"
    for preset in PRESETS
    for format in FORMATS
    for precision in PRECISIONS
]
REPEATS = 15


def main():
    what, *presets = sys.argv[1:]
    path = DOCS / "export_formats.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    load = functools.cache(load_task)
    for key in KEYS:
        preset, format, precision = key.split()
        one = found.setdefault(key, {})
        if (presets and preset not in presets) or "refused" in one or what in one:
            continue
        suffix = FORMATS[format].suffix or f"_{format}"
        artefact = ARTEFACTS / preset / f"{precision}{suffix}"
        one |= STEPS[what](load(preset), format, precision, PRESETS[preset], artefact)
        print(key, one, flush=True)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write_table(found)


def quality(task, format, precision, size, artefact):
    """Export one artefact: its size and worth, or why there is none."""
    records = kem.data.read_index(Path(os.environ["ESPMEDSAM_DATA"]) / "index.csv", ("val",))
    _, measuring = chosen_records(task, records)
    artefact.parent.mkdir(parents=True, exist_ok=True)
    options = {"calibration": records} if precision == "int8" else {}
    try:
        done = task.export_for(
            format, artefact, size=size, precision=precision, overwrite=True, **options
        )
        request = make_request(
            task, format, artefact, size=size, precision=precision, overwrite=True
        )
        worth = done.get("quality") or measured_quality(
            task, request, done, FORMATS[format].load(artefact), measuring
        )
    except kem.errors.InputError as error:
        return {"refused": str(error)}
    return {
        "megabytes": round(
            sum(file.stat().st_size for file in FORMATS[format].files(artefact)) / 1e6, 2
        ),
        "difference": done.get("difference"),
        "quality": worth,
    }


def time_of(task, format, precision, size, artefact):
    """Time over that of the Keras model's `predict`, one image, interleaved."""
    request = make_request(task, format, artefact, size=size, precision=precision, overwrite=True)
    runtime = FORMATS[format].load(artefact)
    image = made_image(np.random.default_rng(0), request.size)[None]
    inputs = {"images": image}
    prepared = {"images": image.astype("float32")}
    if task.takes_modalities:
        inputs["modalities"] = prepared["modalities"] = np.zeros(1, "int32")
    given = prepared if isinstance(task.input, dict) else prepared["images"]
    calls = (lambda: runtime(inputs), lambda: task.predict_prepared(given))
    medians(calls, 2)  # The first calls compile.
    ours, model = medians(calls, REPEATS)
    return {
        "time": round(ours / model, 2),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
        "backend": keras.backend.backend(),
    }


STEPS = {"quality": quality, "time": time_of}


def write_table(found):
    lines = [
        "# Formats, measured",
        "",
        "    ESPMEDSAM_DATA=DATA python benchmarks/export.py quality",
        "    KERAS_BACKEND=torch python benchmarks/export.py time",
        "",
        "Size of the artefact; time of one image over that of the Keras model's `predict` in the",
        "same process; mean Dice of the data sets on val images (of the classifier, the share",
        "classed as by the Keras model) beside the Keras model's.",
        "",
        "| preset | format | precision | MB | time | exported | Keras |",
        "|---|---|---|---|---|---|---|",
    ]
    refused = {}
    for key in KEYS:
        one = found.get(key, {})
        what = key.replace(" ", ", ")
        if "refused" in one:
            refused.setdefault(one["refused"], []).append(what)
        elif "quality" in one:
            worth = one["quality"]
            lines.append(
                f"| {key.replace(' ', ' | ')} | {one['megabytes']} | {one.get('time', '')} | "
                f"{worth['exported']:.4f} | {worth['keras']:.4f} |"
            )
    timed = [one for one in found.values() if "time" in one]
    if timed:
        lines += ["", f"{timed[-1]['machine']}; Keras on {timed[-1]['backend']}."]
    lines += ["", "Refused:", ""]
    lines += [f"- {'; '.join(which)}: {why}" for why, which in refused.items()]
    with atomic_path(DOCS / "export_formats.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
