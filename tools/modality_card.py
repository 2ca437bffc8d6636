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


SPLITS = {
    "val": "chose weights and confidence",
    "test": "the data sets that it was trained on, other images",
    "unseen": "other hospitals and cameras",
    "transfer_test": "what no image that it was trained on shows",
}


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
    return CARD.format(
        params=report["params"],
        size=size / 1e6,
        least=report["min_confidence"],
        mix=report["mix"],
        count=len(report["trained_on"]),
        summary=summary_table(report),
        datasets=dataset_table(report),
        test=confusion_table(report, "test"),
        unseen=confusion_table(report, "unseen"),
        kinds=outlier_table(report["outliers"]),
        refusal=refusal_table(report["test_of_refusal"]),
        refused=sum(one["refused"] for one in report["test_of_refusal"].values()),
        phases=phase_table(run),
        backend=report["backend"],
        commit=commit,
        sources=sources,
        files="\n".join(f"- `{name}`, SHA-256 `{value}`" for name, value in digests.items()),
    )


def uses(report):
    """What each data set was used for: dict of its name, for `card_sources.source_table`."""
    found = {name: "training" for name in report["trained_on"]}
    for split in ("unseen", "transfer_test"):
        for name in report["splits"][split]:
            # Of polypgen one centre is unseen.
            found[name] = "training, and one centre as a test" if name in found else "a test"
    return found


def summary_table(report):
    lines = [
        "| split | images | right | refused | named wrongly | right in version 1 |",
        "|---|---|---|---|---|---|",
    ]
    for split in SPLITS:
        images, right, refused = counts(report, report["splits"][split])
        before = counts(report, report["before"][split])[1]
        lines.append(
            f"| {split} | {images} | {right} ({percent(right, images)}) | {refused} "
            f"| {images - right - refused} | {before} ({percent(before, images)}) |"
        )
    return "\n".join(lines)


def percent(part, whole):
    return f"{100 * part / whole:.1f} %"


def counts(report, datasets):
    """How many images, right and refused, of a split's data sets."""
    images = sum(one["images"] for one in datasets.values())
    right = sum(right_ones(report, one) for one in datasets.values())
    return images, right, sum(one["as"][-1] for one in datasets.values())


def right_ones(report, one):
    return one["as"][report["modalities"].index(one["modality"])]


def dataset_table(report):
    """The data sets of which any image was refused or named wrongly by either version."""
    lines = [
        "| split | data set | modality | images | right | refused | taken for "
        "| right in version 1 |",
        "|---" * 8 + "|",
    ]
    for split in SPLITS:
        for name, one in report["splits"][split].items():
            right = right_ones(report, one)
            before = right_ones(report, report["before"][split][name])
            if min(right, before) == one["images"]:
                continue
            wrong = ", ".join(
                f"{modality} {count}"
                for modality, count in zip(report["modalities"], one["as"], strict=False)
                if count and modality != one["modality"]
            )
            lines.append(
                f"| {split} | {name} | {one['modality']} | {one['images']} | {right} "
                f"| {one['as'][-1]} | {wrong or '-'} | {before} |"
            )
    return "\n".join(lines)


def confusion_table(report, split):
    names = report["modalities"]
    lines = [
        f"| true \\ recognised | {' | '.join(names)} | refused |",
        "|---" * (len(names) + 2) + "|",
    ]
    for name in names:
        rows = [one["as"] for one in report["splits"][split].values() if one["modality"] == name]
        if rows:
            total = [sum(column) for column in zip(*rows, strict=True)]
            lines.append(f"| {name} | {' | '.join(map(str, total))} |")
    return "\n".join(lines)


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

A refused image counts as not right. Val chose weights and confidence. Test: the data sets that it
was trained on, other images. Unseen: other hospitals and cameras, never trained or tuned on.
Transfer_test: fetal heads in ultrasound and dental panoramics, which no training image shows.
Version 1, `tic_tiny_modality@1`, is measured on the same images.

{summary}

The data sets of which either version refused or named wrongly any image:

{datasets}

Confusion on test:

{test}

Confusion on unseen:

{unseen}

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

Plain `model.fit` on the train split of {count} data sets, from the weights of version 1, on part of
one core of a two-core CPU machine (Keras on {backend}). Within a modality a data set is drawn as
often as the root of its number of images. Some images are made to look as from other devices:
ultrasound as of a curved probe, other hues of stains, X-rays inverted, the colours and light of
another image of the modality. Three in ten images of a batch are outliers with equal probabilities
as target (Hendrycks et al., arXiv 1812.04606): synthetic ones, photographs that come with
scikit-image and matplotlib, and training images cut up or in wrong colours.

    ESPMEDSAM_DATA=DATA python tools/train_modality.py --output runs/modality

{phases}

The weights are a mean, {mix:.0%} of the trained ones and the rest of version 1's (Wortsman et al.,
arXiv 2109.01903): the share for which the loss on val is least. The least confidence is set on
val: at least 99.5 % of it is accepted.

Package at {commit}.

## Weaknesses

- Dermoscopy and ultrasound were learnt from one data set each: skin lesions and breasts. An image
  of another organ, or from a device that looks different, may be refused, or named wrongly with
  confidence (transfer_test above).
- The refusal was learnt from synthetic images and a few photographs, so a photograph may pass;
  medical images of a seventh kind (such as CT or MRI) were not among the outliers, and none were
  tried.
- It does not tell whether the image holds what the segmenter looks for.

## Data

{sources}

## Files

{files}
"""
