"""Write the folders of `presets/` from a training run and its evaluation.

    python tools/build_presets.py tinyvit
    python tools/build_presets.py tic
    python tools/build_presets.py nano --run runs/pretrained --minutes M --commit COMMIT
    python tools/build_presets.py modality --run runs/modality --commit COMMIT
    python tools/build_presets.py native --run runs/tic_native --nano-report R --commit COMMIT

`tinyvit` writes the published configuration without weights, `tic` those of TiC. `nano` copies the
calibrated preset of a run of `examples/configs/pretrained.yaml` and writes its model card from what
`benchmarks/preset_accuracy.py measure` wrote of it and of the version before, and from the reports
of `benchmarks/trust.py`, `guarantees.py` and `scope.py`, so that no number in the card is typed by
hand. `native` does the same with a run of `examples/configs/tic_native` and the report of
`espmedsam evaluate`, `modality` with one of `tools/train_modality.py`. `make presets` runs all of
it; see `tools/rebuild_presets.py`. With `--unpublished` the newest version, which nobody has yet,
is replaced, and does not become an earlier one.
"""

import argparse
import csv
import hashlib
import json
import math
import pathlib
import shutil
import tempfile

import modality_card
import nano_card  # Finds benchmarks/.
import native_card
import preset_statistics
from card_origins import published_origins, with_origins
from card_sources import source_table
from preset_versions import keep_earlier

import keras_espmedsam as kem
from keras_espmedsam.converters.untrained_segmenter import published_segmenter
from keras_espmedsam.data import atomic_path
from keras_espmedsam.hub.built_in_presets import METADATA_FILE, WEIGHTS_FILE
from keras_espmedsam.hub.checksums import write_checksums
from keras_espmedsam.hub.origins import write_origins
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import MODALITIES

PRESETS = pathlib.Path(__file__).resolve().parents[1] / "presets"
REPORTS = PRESETS.parent / "docs" / "reports"
RESULTS = REPORTS / "results" / "presets"
CLASSES = [
    "ESPMedSAMImageSegmenter",
    "ESPMedSAMImageSegmenterPreprocessor",
    "ESPMedSAMImageConverter",
    "ESPMedSAMBackbone",
]


def write_tinyvit():
    """The published configuration: every file of a preset but the weights."""
    segmenter = published_segmenter(MODALITIES, tuple(range(6)), "released", "stretch")
    trainable = sum(math.prod(weight.shape) for weight in segmenter.trainable_weights)
    folder = save_preset(
        "espmedsam_tinyvit_1024",
        segmenter,
        CLASSES,
        "The published configuration (TinyViT-5M, 1024 x 1024, six modalities), without weights: "
        "convert the released checkpoints.",
        weights=False,
        get_weights="Download the released ESP-MedSAM checkpoints and convert them: "
        "`espmedsam convert espmedsam ONE.pth --modality NAME --output DIR`, then load DIR.",
    )
    write_text(folder / "README.md", TINYVIT_CARD.format(trainable=trainable))
    print(f"Wrote {folder}: {trainable:,} trainable parameters")


# Widths and depths after NAT (arXiv 2204.07143), whose tokens and windows are the same.
TIC_CONFIGURATIONS = {
    "tic_tiny": dict(hidden_dims=(64, 128, 256, 512), num_heads=(2, 4, 8, 16), mlp_ratio=3),
    "tic_small": dict(hidden_dims=(96, 192, 384, 768), num_heads=(3, 6, 12, 24), mlp_ratio=2),
    "tic_base": dict(hidden_dims=(128, 256, 512, 1024), num_heads=(4, 8, 16, 32), mlp_ratio=2),
}


def write_tic():
    """Configurations of TiC without weights, to be trained as classifier or encoder."""
    for name, configuration in TIC_CONFIGURATIONS.items():
        backbone = kem.models.TiCBackbone(depths=(3, 4, 18, 5), **configuration)
        params = backbone.count_params()
        folder = save_preset(
            name,
            backbone,
            ["TiCBackbone"],
            "Backbone of convolutional self-attention for any image size, without weights: train "
            "it.",
            weights=False,
            get_weights="There are none: the paper published none, and none were trained here. "
            "Train it as TiCImageClassifier or as an encoder of ESPMedSAMBackbone.",
        )
        write_text(folder / "README.md", TIC_CARD.format(name=name, params=params))
        print(f"Wrote {folder}: {params:,} parameters")


def write_nano(run, commit, minutes, unpublished):
    """The trained and calibrated nano preset with its card."""
    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(run / "calibrated")
    params = segmenter.count_params()
    folder = save_preset(
        nano_card.NAME,
        segmenter,
        CLASSES,
        nano_card.DESCRIPTION,
        run=run,
        unpublished=unpublished,
    )
    weights = folder / WEIGHTS_FILE
    version = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))["version"]
    card = nano_card.nano_card(
        results=preset_statistics.load(RESULTS, f"{nano_card.NAME}@{version}"),
        earlier=preset_statistics.load(RESULTS, f"{nano_card.NAME}@{version - 1}"),
        trust=preset_statistics.load(REPORTS, "trust"),
        guarantees=preset_statistics.load(REPORTS, "guarantees"),
        scope=preset_statistics.load(REPORTS, "scope"),
        seen=seen_by_eye(f"{nano_card.NAME}@{version}"),
        run=run,
        segmenter=segmenter,
        params=params,
        size=weights.stat().st_size / 1e6,
        digest=hashlib.sha256(weights.read_bytes()).hexdigest(),
        commit=commit,
        minutes=minutes,
    )
    write_text(folder / "README.md", with_origins(card, run))
    print(f"Wrote {folder}: {params:,} parameters")


def seen_by_eye(preset):
    """What was seen in validation images of a version, if somebody looked."""
    found = json.loads((RESULTS / "error_kinds_by_eye.json").read_text(encoding="utf-8"))
    return found["seen"] if found["preset"] == preset else []


def write_native(run, report_file, commit, nano_report):
    """The native-resolution preset with its card."""
    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(run / "preset")
    params = segmenter.count_params()
    folder = save_preset(
        "espmedsam_tic_native", segmenter, CLASSES, native_card.DESCRIPTION, run=run
    )
    report = json.loads(report_file.read_text(encoding="utf-8"))
    weights = folder / WEIGHTS_FILE
    card = native_card.native_card(
        report=report,
        nano=json.loads(nano_report.read_text(encoding="utf-8")),
        params=params,
        size=weights.stat().st_size / 1e6,
        digest=hashlib.sha256(weights.read_bytes()).hexdigest(),
        phases=phase_table(run),
        commit=commit,
        test=result_table(report, "test"),
        unseen=result_table(report, "unseen"),
        sources=source_table(),
        weak=weaknesses(report),
    )
    write_text(folder / "README.md", with_origins(card, run))
    print(f"Wrote {folder}: {params:,} parameters")


def write_modality(run, report_file, commit):
    """The trained classifier of modalities with its card."""
    classifier = kem.models.TiCImageClassifier.from_preset(run / "preset")
    folder = save_preset(
        "tic_tiny_modality", classifier, modality_card.CLASSES, modality_card.DESCRIPTION, run=run
    )
    files = sorted(folder.glob("*.weights.h5"))
    report = json.loads(report_file.read_text(encoding="utf-8"))
    card = modality_card.modality_card(
        report=report,
        run=run,
        size=sum(file.stat().st_size for file in files),
        digests={file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        sources=source_table(modality_card.uses(report)),
        commit=commit,
    )
    write_text(folder / "README.md", with_origins(card, run))
    print(f"Wrote {folder}: {classifier.count_params():,} parameters")


def save_preset(
    name,
    model,
    classes,
    description,
    weights=True,
    get_weights="",
    run=None,
    unpublished=False,
):
    """Write a preset's files and its entry for the registry; gives the folder.

    Anything but what is there already is a new version; the one that was the newest stays as
    `NAME@VERSION`, unless it is unpublished.
    """
    folder = PRESETS / name
    with tempfile.TemporaryDirectory() as temporary:
        model.save_to_preset(temporary)
        if run is not None and (origins := published_origins(run)):
            write_origins(temporary, origins)
        if unpublished:
            version = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))["version"]
        else:
            version = keep_earlier(pathlib.Path(temporary), folder, weights)
        copy_preset(pathlib.Path(temporary), folder, weights)
    metadata = {"description": description, "params": model.count_params()}
    entry = {"classes": classes, "metadata": metadata, "get_weights": get_weights}
    if version > 1:
        entry["version"] = version
    write_text(folder / METADATA_FILE, json.dumps(entry, indent=4) + "\n")
    write_checksums(folder)
    return folder


def copy_preset(source, folder, weights):
    """Copy the files of a preset; an older weights file goes when none is wanted."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        if file.name != WEIGHTS_FILE or weights:
            with atomic_path(folder / file.name) as temporary:
                shutil.copyfile(file, temporary)
    if not weights:
        (folder / WEIGHTS_FILE).unlink(missing_ok=True)


def write_text(path, text):
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def rows(report, split):
    return {
        name.split("/")[0]: entry
        for name, entry in report["datasets"].items()
        if entry["split"] == split
    }


def result_table(report, split):
    lines = [
        "| data set | modality | images | Dice | IoU | precision | recall | HD95 (pixels) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    entries = rows(report, split)
    for name, entry in entries.items():
        values = " | ".join(
            f"{entry[key]['mean']:.3f} ± {entry[key]['std']:.3f}"
            for key in ("dice", "iou", "precision", "recall")
        )
        hd95 = f"{entry['hd95']['mean']:.1f}"
        lines.append(f"| {name} | {entry['modality']} | {entry['n']} | {values} | {hd95} |")
    mean = sum(entry["dice"]["mean"] for entry in entries.values()) / len(entries)
    iou = sum(entry["iou"]["mean"] for entry in entries.values()) / len(entries)
    lines.append(f"| **mean of the sets** | | | **{mean:.3f}** | **{iou:.3f}** | | | |")
    return "\n".join(lines)


def phase_table(run):
    lines = ["| phase | epochs | best validation Dice |", "|---|---|---|"]
    curves = {}
    for file in run.glob("*/curves.csv"):  # Of the folders 1-128, 2-native_256 and so on.
        number, _, name = file.parent.name.partition("-")
        curves[int(number)] = name, file
    for _, (name, path) in sorted(curves.items()):
        with path.open(newline="") as file:
            dice = [float(row["val_masks_dice"]) for row in csv.DictReader(file)]
        size = name.removeprefix("native_")
        scale = ", at native scale" if size != name else ""
        lines.append(f"| {size} x {size} pixels{scale} | {len(dice)} | {max(dice):.3f} |")
    return "\n".join(lines)


def weaknesses(report):
    """The sets on which more is missed than found, in words."""
    entries = {**rows(report, "test"), **rows(report, "unseen")}
    weak = [
        f"- {name} ({entry['modality']}): mean Dice {entry['dice']['mean']:.2f}, deviation "
        f"{entry['dice']['std']:.2f}."
        for name, entry in sorted(entries.items(), key=lambda item: item[1]["dice"]["mean"])
        if entry["dice"]["mean"] < 0.7
    ]
    return "\n".join(weak) or "- No data set below a mean Dice of 0.7."


TINYVIT_CARD = """\
---
library_name: keras-hub
license: apache-2.0
tags: [image-segmentation, medical, keras, esp-medsam]
pipeline_tag: image-segmentation
---
# espmedsam_tinyvit_1024

The configuration of the ESP-MedSAM paper (arXiv 2407.14153): TinyViT-5M, six modality controllers,
1024 x 1024 pixels, {trainable:,} trainable parameters. **It comes without weights.**

To get weights, download the checkpoints that the paper's authors released and convert them:

    espmedsam convert espmedsam A.pth B.pth --modality NAME --modality NAME --output DIR

`espmedsam segment IMAGE --modality NAME --preset DIR` then uses them. Their licence is their
authors'. To train from scratch:

    segmenter = ESPMedSAMImageSegmenter.from_preset("espmedsam_tinyvit_1024", load_weights=False)

Normalisation: `released`, (x - mean) / mean, which the released weights expect. Resizing:
`stretch`; which resizing the released weights saw is unpublished.
"""

TIC_CARD = """\
---
library_name: keras-hub
license: apache-2.0
tags: [image-classification, keras, tic]
pipeline_tag: image-classification
---
# {name}

A `TiCBackbone` of {params:,} parameters: MSA-Conv attention (arXiv 2310.04134) in four stages at
strides 4 to 32, for images of any size. Of the paper's network no more than names is published:
widths and depths are ours. **It comes without weights**, and was not trained here.

    backbone = TiCBackbone.from_preset("{name}", load_weights=False)
    classifier = TiCImageClassifier(backbone, class_names=("a", "b"))
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("preset", choices=["tinyvit", "tic", "nano", "native", "modality"])
    parser.add_argument("--run", type=pathlib.Path, help="folder of the training run")
    parser.add_argument("--report", type=pathlib.Path)
    parser.add_argument("--nano-report", type=pathlib.Path, help="evaluation of the nano preset")
    parser.add_argument("--commit", help="of the package that trained it")
    parser.add_argument("--minutes", type=int, help="that nano's training took on one core")
    parser.add_argument(
        "--unpublished", action="store_true", help="nano: replace the newest version"
    )
    arguments = parser.parse_args()
    if arguments.preset == "tinyvit":
        write_tinyvit()
        return
    if arguments.preset == "tic":
        write_tic()
        return
    names = {"native": "tic_native", "nano": "pretrained"}
    run = arguments.run or pathlib.Path("runs") / names.get(arguments.preset, arguments.preset)
    if arguments.preset == "nano":
        write_nano(run, arguments.commit, arguments.minutes, arguments.unpublished)
        return
    report = arguments.report or run / "report.json"
    if arguments.preset == "native":
        write_native(run, report, arguments.commit, arguments.nano_report)
        return
    write_modality(run, report, arguments.commit)


if __name__ == "__main__":
    main()
