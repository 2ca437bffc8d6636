"""The model card of `espmedsam_tic_native`, from the evaluations of it and of the nano preset."""

DESCRIPTION = (
    "ESP-MedSAM with a TiC encoder for images of any size, not rescaled; six modalities. "
    "Research use only."
)


def native_card(report, nano, params, size, digest, phases, commit, test, unseen, sources, weak):
    """The text of the card.

    Args:
        report, nano: dicts, what `espmedsam evaluate` wrote for this preset and for nano.
        params: int. Parameters.
        size: float. Megabytes of the weights.
        digest: str. SHA-256 of the weights.
        phases, test, unseen, sources, weak: str. Tables and lists that all cards share.
        commit: str. Of the package that trained it.
    """
    return CARD.format(
        params=params,
        size=size,
        digest=digest,
        phases=phases,
        commit=commit,
        test=test,
        unseen=unseen,
        backend=report["backend"],
        sources=sources,
        weaknesses=weak,
        comparison=comparison_table(report, nano),
    )


def comparison_table(report, nano):
    """Mean Dice of both presets on every data set."""
    lines = [
        "| split | data set | `espmedsam_tic_native` | `espmedsam_nano_256@1` |",
        "|---|---|---|---|",
    ]
    for split in ("test", "unseen"):
        both = [
            [e["dice"]["mean"] for e in one["datasets"].values() if e["split"] == split]
            for one in (report, nano)
        ]
        names = [
            name.split("/")[0] for name, e in report["datasets"].items() if e["split"] == split
        ]
        for name, ours, theirs in zip(names, *both, strict=True):
            lines.append(f"| {split} | {name} | {ours:.3f} | {theirs:.3f} |")
        means = [sum(values) / len(values) for values in both]
        lines.append(
            f"| {split} | **mean of the sets** | **{means[0]:.3f}** | **{means[1]:.3f}** |"
        )
    return "\n".join(lines)


CARD = """\
---
library_name: keras-hub
license: other
license_name: research-use-only
tags: [image-segmentation, medical, keras, esp-medsam, tic]
pipeline_tag: image-segmentation
metrics: [dice, iou]
---
# espmedsam_tic_native

ESP-MedSAM with a `TiCBackbone` as image encoder (configuration ours): it segments an image at its
own resolution, padded to a multiple of 32 and never rescaled, at a cost linear in its pixels. Six
modalities: skin lesions in dermoscopy, lungs in chest X-ray, breast lesions in ultrasound, vessels
in fundus photographs, nuclei in microscopy, polyps in colonoscopy. {params:,} parameters with all
six modality controllers, {size:.1f} MB.

**Research use only; not a medical device.** The weights were trained on data whose terms forbid
other use (below).

## Beside the fixed-size model

Mean Dice, per image at its own size. Both were trained on the same images with the same shares,
each for about 75 minutes on one core of a two-core CPU. A TiC costs more per pixel, so in that time
it saw 0.84e9 pixels, 42 % of the 1.99e9 of `espmedsam_nano_256`, and other programs shared the
machine; with equal pixels it would have taken about two hours. The nano beside it is the first one,
without details at full resolution; that of today is in its own card.

{comparison}

Memory and time of a large photograph: `docs/reports/native_resolution.md` in the repository.

## Results

Per image at its own size, threshold 0.5, no smoothing; mean ± standard deviation over the images.
Test: the data sets that it was trained on, other images.

{test}

Unseen: the same modalities from another hospital or camera, never trained or tuned on.

{unseen}

    espmedsam evaluate --preset espmedsam_tic_native --data INDEX.csv --split test \\
        --split unseen --output report.json

on two CPU cores, Keras backend {backend}.

## Training

On the train split, from random weights (Keras on PyTorch). Val chose the weights; test and unseen
were looked at for these tables only.

    ESPMEDSAM_DATA=DATA KERAS_BACKEND=torch espmedsam train examples/configs/tic_native/train.yaml

{phases}

Package at commit {commit}. The first five epochs ran under a learning-rate schedule of nine, which
was cut to six to end in time; a rerun differs by that.

Losses: 0.8 Dice + 0.2 focal on the mask, per image, and binary cross-entropy on the patch map.
This is not the paper's distillation: no teacher was used.

## Weaknesses

{weaknesses}
- An image without a target gets a mask all the same: nearly all training images hold one.
- Sizes far from those of the data (longer side 384 pixels, fundus 584) show structures at scales
  that training covered by resizing only.
- The modality must be named rightly, or recognised; a wrong one gives a confident wrong mask.

## Data

{sources}

## Files

`model.weights.h5`, SHA-256 `{digest}`
"""
