"""The card of `espmedsam_nano_256`, from what `benchmarks/accuracy.py measure` wrote."""

import csv
import pathlib
import sys

from huggingface_hub import EvalResult, ModelCardData

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "benchmarks"))
from accuracy_report import by_dataset, interval

DESCRIPTION = (
    "Small configuration for 256 x 256, six modalities, distilled and trained on about 1,600 "
    "images. Research use only."
)
SPLITS = {"test": "other images of the sets", "unseen": "other hospitals and cameras"}


def nano_card(results, runs, params, size, digest, commit, sources):
    """The card's text.

    Args:
        results: dict, what `measure` wrote into docs/reports/results.
        runs: list of the folders of the trainings, in their order.
        params, size, digest: of the weights: int, megabytes, SHA-256.
        commit: str. Of the package that trained them.
        sources: str. The table of the data sets.
    """
    return CARD.format(
        metadata=_metadata(results),
        params=params,
        size=size,
        digest=digest,
        commit=commit,
        sources=sources,
        test=_table(results, "test"),
        unseen=_table(results, "unseen"),
        weaknesses=_weaknesses(results),
        phases=_phases(runs),
        commands="\n".join(f"    {command}" for command in results["commands"]),
        minutes=(results["cpu_seconds"] or 0) / 60,
        machine=results["machine"],
        keras=results["keras"],
    )


def _metadata(results):
    """What hub tools read."""
    evaluated = []
    for split in SPLITS:
        for measure, name in (("dice", "Dice"), ("iou", "IoU")):
            for dataset, values in by_dataset(results, split, measure).items():
                evaluated.append(
                    EvalResult(
                        task_type="image-segmentation",
                        dataset_type=dataset,
                        dataset_name=dataset,
                        dataset_split=split,
                        metric_type=measure,
                        metric_name=name,
                        metric_value=round(float(values.mean()), 4),
                    )
                )
    data = ModelCardData(
        library_name="keras-hub",
        license="other",
        license_name="research-use-only",
        tags=["image-segmentation", "medical", "keras", "esp-medsam"],
        pipeline_tag="image-segmentation",
        metrics=["dice", "iou"],
        model_name="espmedsam_nano_256",
        eval_results=evaluated,
    )
    return data.to_yaml()


def _table(results, split):
    measures = ("dice", "iou", "precision", "recall", "hd95")
    sets = {measure: by_dataset(results, split, measure) for measure in measures}
    lines = [
        "| data set | images | Dice | IoU | precision | recall | HD95 (pixels) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, values in sets["dice"].items():
        cells = [_cell(interval([sets[measure][name]]), measure) for measure in measures]
        lines.append(f"| {name} | {len(values)} | " + " | ".join(cells) + " |")
    means = [_cell(interval(sets[measure].values()), measure) for measure in measures]
    lines.append("| **mean of the sets** | | " + " | ".join(means) + " |")
    return "\n".join(lines)


def _cell(found, measure):
    digits = 1 if measure == "hd95" else 3
    return "{:.{d}f} [{:.{d}f}, {:.{d}f}]".format(*found, d=digits)


def _weaknesses(results):
    """The sets on which more is missed than found, in words."""
    means = {
        name: float(values.mean())
        for split in SPLITS
        for name, values in by_dataset(results, split, "dice").items()
    }
    weak = [
        f"- {name}: mean Dice {mean:.2f}." for name, mean in sorted(means.items()) if mean < 0.7
    ]
    return "\n".join(weak) or "- No data set below a mean Dice of 0.7."


def _phases(runs):
    lines = ["| run | phase | epochs | best on val |", "|---|---|---|---|"]
    for run in runs:
        for log in sorted(run.glob("*/curves.csv")):
            with log.open(newline="") as file:
                rows = list(csv.DictReader(file))
            dice = [float(row["val_masks_dice"]) for row in rows if "val_masks_dice" in row]
            losses = [float(row["val_loss"]) for row in rows]
            best = f"Dice {max(dice):.3f}" if dice else f"loss {min(losses):.3f}"
            lines.append(f"| {run.name} | {log.parent.name} | {len(rows)} | {best} |")
    return "\n".join(lines)


CARD = """\
---
{metadata}
---
# espmedsam_nano_256

A small ESP-MedSAM (configuration ours) for images of 256 x 256 pixels and six modalities: skin
lesions in dermoscopy, lungs in chest X-ray, breast lesions in ultrasound, vessels in fundus
photographs, nuclei in microscopy, polyps in colonoscopy. {params:,} parameters with all six
modality controllers, {size:.1f} MB. TinyViT encoder, embeddings at a stride of 8, masks at the
image's own resolution by a detail branch (ours).

**Research use only; not a medical device.** The weights were trained on data whose terms forbid
other use (below). Intended for research and teaching: comparing methods, a start for fine-tuning,
prompts for annotation that a person corrects. Not intended for diagnosis.

## Results

Mean over the images and its 95 % bootstrap interval; per image at its own size, threshold 0.5, no
smoothing. Test: other images of the data sets that it was trained on.

{test}

Unseen: the same modalities from another hospital or camera, never trained or tuned on.

{unseen}

    espmedsam evaluate --preset espmedsam_nano_256 --data INDEX.csv --split test --split unseen

Keras {keras}. How it compares with other systems, and the images on which it fails:
`docs/reports/results.md` in the package's repository.

## Training

From random weights: a medical teacher on labels (a network like the student), the student's encoder
and controllers from the teacher, then the whole student on labels, twice. Val chose the weights;
test and unseen were looked at for these tables and those of `docs/reports/results.md` only. Package
at commit {commit}; {minutes:.0f} CPU minutes without the teacher, {machine}.

    espmedsam train examples/configs/nano_256/labels.yaml
{commands}

{phases}

## Weaknesses

{weaknesses}
- An image without a target gets a mask all the same: nearly all training images hold one.
- At 256 x 256 a vessel one pixel wide in a large photograph is lost.
- The modality must be named rightly; a wrong one gives a confident wrong mask.

## Data

{sources}

## Files

`model.weights.h5`, SHA-256 `{digest}`; all files in `SHA256SUMS`.
"""
