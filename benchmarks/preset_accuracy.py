"""Measure presets on every test and unseen image of an index, and write docs/reports/results.md.

    python benchmarks/preset_accuracy.py measure PRESET [--name NAME]
    python benchmarks/preset_accuracy.py report

ESPMEDSAM_DATA is the folder that holds index2.csv, in which images have several targets. `measure`
writes the measures of each image and target to docs/reports/results/presets/NAME.json, where NAME
is the preset's name with its version; give it for a folder. Targets that the preset does not have
are left out. `report` compares what was measured: see `benchmarks/preset_report.py`.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import time

import numpy as np
from preset_statistics import SPLITS

from keras_espmedsam.data import atomic_path

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "reports" / "results" / "presets"
INDEX = "index2.csv"
BINS = 20
# Version 1 has one target of each modality and no names for them.
FIRST_TARGETS = {
    "colonoscopy": "polyp",
    "dermoscopy": "lesion",
    "fundus": "vessels",
    "microscopy": "nuclei",
    "ultrasound": "lesion",
    "xray": "lungs",
}


def records_of(index, segmenter, splits=SPLITS):
    """The records of an index, each with the masks of the targets that a segmenter has."""
    from keras_espmedsam.data import read_index

    known = {
        modality: set(names) if names != ("mask",) else {FIRST_TARGETS[modality]}
        for modality, names in segmenter.target_set.names.items()
    }
    kept = []
    for record in read_index(index, splits):
        masks = tuple(one for one in record.targets if one.target in known[record.modality])
        if masks:
            kept.append(dataclasses.replace(record, mask=masks[0].mask, targets=masks))
    return kept


def some_of_each(records, most):
    """At most `most` records of each data set, evenly spread."""
    sets = {}
    for record in records:
        sets.setdefault(record.dataset, []).append(record)
    kept = []
    for own in sets.values():
        kept += spread(own, most)
    return kept


def spread(rows, count):
    """At most so many, evenly spread; 0 for all."""
    count = min(count or len(rows), len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]


def subgroup(record):
    """What an image may be compared by within its data set, or an empty string.

    Sequences of endoscopies and cases of histology are the groups of the index; diagnoses are in
    the names of the files.
    """
    stem = pathlib.Path(record.image).stem
    if record.dataset in ("busi", "bus_bra"):
        return stem.partition("_")[0]
    if record.dataset in ("shenzhen", "montgomery"):
        return {"0": "normal", "1": "tuberculosis"}.get(stem.rpartition("_")[2], "")
    if record.dataset == "jsrt":
        return "nodule" if stem.startswith("JPCLN") else "no nodule"
    return ""


def measure(preset, name, index, output):
    """Measure one preset, into `output/NAME.json`."""
    import keras

    import keras_espmedsam as kem
    from keras_espmedsam.data.index import read_column

    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(preset)
    records = records_of(index, segmenter)
    groups = {str(path): value for path, value in read_column(index, "group").items()}
    images, calibration = [], {}
    begin = time.process_time()

    def each(record, truth, probabilities, measures):
        target = record.targets[0].target
        images.append(
            {
                **{"split": record.split, "modality": record.modality},
                **{"dataset": record.dataset, "target": target},
                "image": pathlib.Path(record.image).relative_to(index.parent).as_posix(),
                "subgroup": subgroup(record) or groups.get(str(record.image), ""),
                **{key: _rounded(value) for key, value in measures.items()},
            }
        )
        counts = calibration.setdefault(f"{record.dataset}:{target}", np.zeros((3, BINS)))
        bins = np.minimum((probabilities * BINS).astype(int), BINS - 1).ravel()
        for row, weights in enumerate((None, probabilities.ravel(), truth.ravel() != 0)):
            counts[row] += np.bincount(bins, weights, minlength=BINS)

    kem.evaluation.evaluate(segmenter, records, each=each)
    result = {
        "preset": name,
        "keras": f"{keras.__version__}, {keras.backend.backend()}",
        "machine": f"{platform.machine()}, one of {os.cpu_count()} CPU cores",
        "cpu_seconds": round(time.process_time() - begin),
        "parameters": segmenter.count_params(),
        "calibration": {
            key: [[round(float(x), 1) for x in row] for row in counts]
            for key, counts in calibration.items()
        },
        "images": images,
    }
    output.mkdir(parents=True, exist_ok=True)
    with atomic_path(output / f"{name}.json") as temporary:
        temporary.write_text(one_per_line(result), encoding="utf-8")
    print(f"{name}: {len(images)} masks in {result['cpu_seconds']} s of CPU time")


def _rounded(value):
    return None if value != value else round(float(value), 4)


def one_per_line(result):
    """JSON in which git and people see each image and each data set's calibration by itself."""
    head = json.dumps({**result, "images": [], "calibration": {}}, indent=1)
    images = ",\n".join("  " + json.dumps(image) for image in result["images"])
    counts = ",\n".join(
        f"  {json.dumps(key)}: {json.dumps(rows)}" for key, rows in result["calibration"].items()
    )
    head = head.replace('"calibration": {}', f'"calibration": {{\n{counts}\n }}')
    return head.replace('"images": []', f'"images": [\n{images}\n ]') + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="what", required=True)
    measuring = commands.add_parser("measure", help="measure one preset")
    measuring.add_argument("preset", help="a name, or a folder with --name")
    measuring.add_argument("--name", help="of the preset in the tables, with its version")
    commands.add_parser("report", help="write the page")
    options = parser.parse_args()
    if options.what == "report":
        import preset_report

        preset_report.write(ROOT / "docs" / "reports", RESULTS)
        return
    data = os.environ.get("ESPMEDSAM_DATA", "")
    if not (pathlib.Path(data) / INDEX).is_file():
        parser.error(f"set ESPMEDSAM_DATA to the folder that holds {INDEX}.")
    from keras_espmedsam.hub.built_in_presets import versioned_name

    name = options.name or versioned_name(options.preset)
    if os.sep in name:
        parser.error(f"give a folder a name: --name NAME@VERSION; received {options.preset}")
    measure(options.preset, name, pathlib.Path(data) / INDEX, RESULTS)


if __name__ == "__main__":
    main()
