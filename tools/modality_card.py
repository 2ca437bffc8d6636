"""The model card of `tic_tiny_modality`, from the report of its training script."""

import csv
import json

CLASSES = [
    "TiCImageClassifier",
    "TiCImageClassifierPreprocessor",
    "TiCImageConverter",
    "TiCBackbone",
]
DESCRIPTION = (
    "Small TiC classifier for 128 x 128: which of six modalities an image shows, and whether any. "
    "Research use only."
)


def modality_card(report, run, size, digests, sources, commit):
    """The text of the card.

    Args:
        report: dict, what `train_modality.py --evaluate` wrote.
        run: folder of the run, with a log.csv per phase.
        size: float. Bytes of the weights.
        digests: dict of file name to SHA-256.
        sources: str. Table of the data sets.
        commit: str. Of the package that trained it.
    """
    splits = report["splits"]
    return CARD.format(
        params=report["params"],
        size=size / 1e6,
        least=report["min_confidence"],
        summary=summary_table(splits),
        test=confusion_table(report, "test"),
        unseen=confusion_table(report, "unseen"),
        mistakes=mistakes(splits),
        kinds=outlier_table(report["outliers"]),
        refusal=refusal_table(report["test_of_refusal"]),
        refused=sum(one["refused"] for one in report["test_of_refusal"].values()),
        phases=phase_table(run),
        backend=report["backend"],
        commit=commit,
        sources=sources,
        files="\n".join(f"- `{name}`, SHA-256 `{value}`" for name, value in digests.items()),
    )


def summary_table(splits):
    lines = ["| split | images | right | refused | named wrongly |", "|---|---|---|---|---|"]
    for name, one in splits.items():
        wrong = one["images"] - one["right"] - one["refused"]
        share = 100 * one["right"] / one["images"]
        lines.append(
            f"| {name} | {one['images']} | {one['right']} ({share:.1f} %) | {one['refused']} "
            f"| {wrong} |"
        )
    return "\n".join(lines)


def confusion_table(report, split):
    names = report["modalities"]
    lines = [
        f"| true \\ recognised | {' | '.join(names)} | refused |",
        "|---" * (len(names) + 2) + "|",
    ]
    for name, row in zip(names, report["splits"][split]["confusion"], strict=True):
        if sum(row):
            lines.append(f"| {name} | {' | '.join(map(str, row))} |")
    return "\n".join(lines)


def mistakes(splits):
    lines = [
        f"- {split}, {one['dataset']} ({one['modality']}): "
        + ("refused, most like " if one["refused"] else "taken for ")
        + f"{one['recognised']}, confidence {one['confidence']:.3f}."
        for split in ("val", "test", "unseen")
        for one in splits[split]["errors"]
    ]
    return "\n".join(lines) or "- None."


def outlier_table(outliers):
    lines = ["| kind | images | refused |", "|---|---|---|"]
    lines += [f"| {name} | {one['images']} | {one['refused']} |" for name, one in outliers.items()]
    images, refused = (sum(one[key] for one in outliers.values()) for key in ("images", "refused"))
    return "\n".join([*lines, f"| **all** | **{images}** | **{refused}** |"])


def refusal_table(images):
    lines = ["| image | refused | most like | confidence |", "|---|---|---|---|"]
    for name, one in images.items():
        answer = "yes" if one["refused"] else "**no**"
        lines.append(f"| {name} | {answer} | {one['recognised']} | {one['confidence']:.3f} |")
    return "\n".join(lines)


def phase_table(run):
    lines = ["| phase | epochs | best validation loss | its accuracy |", "|---|---|---|---|"]
    for log in sorted(run.glob("*/log.csv"), key=lambda file: int(file.parent.name)):
        with log.open(newline="") as file:
            rows = list(csv.DictReader(file))
        best = min(rows, key=lambda row: float(row["val_loss"]))
        size = json.loads((log.parent / "done.json").read_text())["size"]
        lines.append(
            f"| {size} x {size} pixels | {len(rows)} | {float(best['val_loss']):.3f} "
            f"| {float(best['val_accuracy']):.3f} |"
        )
    return "\n".join(lines)


CARD = """\
---
library_name: keras-hub
license: other
license_name: research-use-only
tags: [image-classification, medical, keras, tic]
pipeline_tag: image-classification
metrics: [accuracy]
---
# tic_tiny_modality

A small TiC classifier (network ours) that says which of six modalities an image shows:
dermoscopy, X-ray, ultrasound, fundus, microscopy or colonoscopy. `segment` and `espmedsam segment`
use it for the modality `auto`. Below a confidence of {least:.3f} an image is refused: it may be no
medical image at all. {params:,} parameters, {size:.1f} MB; images are stretched to 128 x 128, and
the same weights take other sizes.

**Research use only; not a medical device.** The weights were trained on data whose terms forbid
other use (below).

    classifier = TiCImageClassifier.from_preset("tic_tiny_modality")
    classifier.classify(image)

## Results

A refused image counts as not right. Val: chose weights and confidence. Test: the data sets that
it was trained on, other images. Unseen: another hospital or camera, never trained or tuned on.

{summary}

Confusion on test:

{test}

Confusion on unseen:

{unseen}

Every image of the three that was refused or named wrongly:

{mistakes}

## Refusal

Images that are no medical image. scikit-image's astronaut, coffee and page were never trained or
tuned on; {refused} of 3 are refused:

{refusal}

Outliers made by the script from other random numbers than those trained on; mosaic, interference
and bars are kinds, and photograph are images, that were never trained on. All of them had a part
in choosing the confidence, and half of them in choosing the weights, so this is no test:

{kinds}

    ESPMEDSAM_DATA=DATA python tools/train_modality.py --output runs/modality --evaluate

on one CPU core, Keras backend {backend}.

## Training

Plain `model.fit` on the train split, from random weights, on one core of a two-core CPU machine
(Keras on PyTorch). Three in ten images of a batch are outliers with equal probabilities as
target (Hendrycks et al., arXiv 1812.04606): synthetic ones, photographs that come with
scikit-image and matplotlib, and training images cut up or in wrong colours.

    ESPMEDSAM_DATA=DATA KERAS_BACKEND=torch python tools/train_modality.py --output runs/modality

{phases}

The least confidence is set on val: at least 99.5 % of it is accepted.

Package at {commit}.

## Weaknesses

- It knows each modality from one or two data sets: six sources in all. An image from a device that
  looks different (another stain, an ultrasound of another organ, a limb's X-ray) may be refused, or
  named wrongly with confidence.
- Fundus was learnt from 16 photographs.
- The least confidence is low: some images of dense nuclei are hardly told from noise, and
  accepting them lets part of the outliers pass (table above).
- The refusal was learnt from synthetic images and a few photographs, so a photograph may pass;
  medical images of a seventh kind (such as CT or MRI) were not among the outliers, and none were
  tried.
- It does not tell whether the image holds what the segmenter looks for.

## Data

{sources}

## Files

{files}
"""
