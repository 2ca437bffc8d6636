"""Every preset with weights in every format: size, time and what it is worth on real images.

    ESPMEDSAM_DATA=DATA python benchmarks/export.py quality [PRESET ...]
    KERAS_BACKEND=torch taskset -c 0 python benchmarks/export.py time [PRESET ...]

The first exports to runs/export and measures what the artefacts are worth; the second, on one core,
how much CPU time they take. Both write docs/reports/export_formats.json after each artefact,
skipping what it holds, and from it docs/reports/export_formats.md. Artefacts are of the `images`
flavour, of all modalities, at the preset's size. Quality is of val of index2.csv: up to 20 images
of each modality and target, apart from those that calibrate int8.
"""

import functools
import json
import os
import platform
import sys
import time
from pathlib import Path

import keras
import numpy as np
from interleaved import medians
from preset_accuracy import INDEX, records_of
from report_pages import table, write_page

import keras_espmedsam as kem
from keras_espmedsam.cli.loading import load_task
from keras_espmedsam.data import atomic_path, read_index
from keras_espmedsam.export.comparison import expected_outputs, made_image, model_inputs
from keras_espmedsam.export.formats import PRECISIONS, all_formats
from keras_espmedsam.export.quantization_data import calibration_inputs, chosen_records
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
        if what == "time" and "quality" not in one:
            continue  # Not exported yet.
        suffix = FORMATS[format].suffix or f"_{format}"
        artefact = ARTEFACTS / preset / f"{precision}{suffix}"
        one |= STEPS[what](load(preset), format, precision, PRESETS[preset], artefact)
        print(key, one, flush=True)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write_table(found)


def quality(task, format, precision, size, artefact):
    """Export one artefact: its size and worth, or why there is none."""
    index = Path(os.environ["ESPMEDSAM_DATA"]) / INDEX
    take = functools.partial(records_of, segmenter=task) if task.is_segmenter else read_index
    records = take(index, splits=("val",))
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
        runtime = FORMATS[format].load(artefact)
        worth = done.get("quality") or measured_quality(task, request, done, runtime, measuring)
    except kem.errors.InputError as error:
        return {"refused": str(error)}
    return {
        "megabytes": round(
            sum(file.stat().st_size for file in FORMATS[format].files(artefact)) / 1e6, 2
        ),
        "difference": done.get("difference"),
        "index": INDEX,
        "on_images": differences(task, request, runtime, measuring),
        "quality": worth,
    }


def differences(task, request, runtime, records):
    """Of the probabilities of real images, artefact and Keras model; and of masks, in pixels.

    Images of a segmenter are counted once for each set of targets that is labelled in them. Closed
    channels, of which both are 0, are left out.
    """
    largest = total = 0.0
    count = other = drawn = 0
    for inputs in calibration_inputs(task, request, records):
        _, prepared = model_inputs(task, request, inputs["images"])
        if task.takes_modalities:
            prepared["modalities"] = inputs["modalities"]
        given = prepared if isinstance(task.input, dict) else prepared["images"]
        want = expected_outputs(
            task, request, task.predict_prepared(given), inputs.get("modalities")
        )
        got = {name: np.asarray(value) for name, value in runtime(inputs).items()}
        open_ = (want["probabilities"] > 0) | (got["probabilities"] > 0)
        difference = np.abs(got["probabilities"] - want["probabilities"])[open_]
        largest = max(largest, float(difference.max()))
        total, count = total + float(difference.sum()), count + difference.size
        if "masks" in want:
            other += int((got["masks"] != want["masks"]).sum())
            drawn += int(((got["masks"] | want["masks"]) > 0).sum())
    return {
        "largest": float(f"{largest:.3g}"),
        "mean": float(f"{total / count:.3g}"),
        "mask_pixels": float(f"{other / drawn:.3g}") if drawn else None,
    }


def time_of(task, format, precision, size, artefact):
    """CPU time over that of the Keras model's `predict`, one image, interleaved."""
    request = make_request(task, format, artefact, size=size, precision=precision, overwrite=True)
    runtime = FORMATS[format].load(artefact)
    image = made_image(np.random.default_rng(0), request.size)[None]
    inputs = {"images": image}
    prepared = {"images": image.astype("float32")}
    if task.takes_modalities:
        inputs["modalities"] = prepared["modalities"] = np.zeros(1, "int32")
    given = prepared if isinstance(task.input, dict) else prepared["images"]
    calls = (lambda: runtime(inputs), lambda: task.predict_prepared(given))
    medians(calls, 4, time.process_time)  # The first calls compile and record.
    ours, model = medians(calls, REPEATS, time.process_time)
    cores = len(os.sched_getaffinity(0))
    return {
        "time": round(ours / model, 2),
        "machine": f"{platform.machine()}, {cores} of {os.cpu_count()} CPU cores",
        "backend": keras.backend.backend(),
        "clock": "CPU time",
    }


STEPS = {"quality": quality, "time": time_of}


HEADER = (
    *("format", "precision", "MB", "time", "generated", "real, largest", "real, mean"),
    *("mask pixels", "exported", "Keras"),
)
PAGE = """\
# Formats, measured

    ESPMEDSAM_DATA=DATA python benchmarks/export.py quality
    KERAS_BACKEND=torch taskset -c 0 python benchmarks/export.py time

- MB: size of the artefact.
- Time: of one image, over that of the Keras model's `predict` in the same process.
- Generated: what export itself checks, the largest difference from the Keras model on generated
  images (for float16, the mean). int8 is judged by its Dice instead.
- Real: differences of probabilities on real val images; mask pixels are those that differ, as a
  share of those in either mask. float16 and int8 can flip a patch that prompts the decoder, and
  with it a part of a mask.
- Exported and Keras: mean Dice of the data sets on val images, with post-processing; of the
  classifier, the share classed as by the Keras model. Artefacts take 8-bit images, and so round
  what was resized, which the Keras model does not.

An artefact has one size for all modalities, so `espmedsam_nano_256` takes fundus images at
256 x 256 here, and not at the 512 x 512 that it uses for them otherwise; both columns of Dice are
lower for that. An artefact of fundus alone (`--modality fundus`) has the larger size.

{sections}

## Refused

{refused}
"""


def write_table(found):
    refused = {}
    for key in KEYS:
        if why := found.get(key, {}).get("refused"):
            refused.setdefault(why, []).append(key.replace(" ", ", "))
    page = PAGE.format(
        sections="\n\n".join(_section(preset, found) for preset in PRESETS),
        refused="\n".join(f"- {'; '.join(which)}: {why}" for why, which in refused.items()),
    )
    write_page(DOCS / "export_formats.md", page, found)


def _section(preset, found):
    rows, notes = [], {}
    for key in KEYS:
        name, format, precision = key.split()
        one = found.get(key, {})
        if name != preset or "quality" not in one:
            continue
        rows.append((format, precision, *_cells(one)))
        notes[f"{one['quality']['images']} val images of {one['index']}."] = None
        if "time" in one:
            notes[f"{one['clock']}: {one['machine']}; Keras on {one['backend']}."] = None
    return "\n\n".join((f"## {preset}", table(HEADER, rows), " ".join(notes)))


def _cells(one):
    real, worth = one.get("on_images"), one["quality"]
    differences = ("", "", "")
    if real:
        pixels = real["mask_pixels"]
        share = "" if pixels is None else f"{100 * pixels:.2g} %"
        differences = (f"{real['largest']:.1e}", f"{real['mean']:.1e}", share)
    generated = "" if one["difference"] is None else f"{one['difference']:.1e}"
    values = (f"{worth[name]:.4f}" for name in ("exported", "keras"))
    return one["megabytes"], one.get("time", ""), generated, *differences, *values


if __name__ == "__main__":
    main()
