"""The card of `espmedsam_nano_256`, from what `benchmarks/preset_accuracy.py measure` wrote.

How far its quality and its probabilities can be trusted is from the reports of `trust.py` and
`guarantees.py`.
"""

import csv
import pathlib
import sys

import numpy as np
import yaml
from card_sources import source_table
from huggingface_hub import EvalResult, ModelCardData

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "benchmarks"))
from preset_report import modality_table, subgroup_table
from preset_statistics import SPLITS, Means, rows_of
from report_pages import cell, table

NAME = "espmedsam_nano_256"
DESCRIPTION = (
    "Small configuration for 256 x 256: six modalities, twelve targets, an image encoder that "
    "begins from ImageNet. Research use only."
)
MEASURES = ("iou", "precision", "recall", "hd95")
WEAK = 0.7


def nano_card(
    results,
    earlier,
    trust,
    guarantees,
    scope,
    seen,
    run,
    segmenter,
    params,
    size,
    digest,
    commit,
    minutes,
):
    """The card's text.

    Args:
        results: dict, what `measure` wrote of this version.
        earlier: dict, the same of the version before.
        trust: dict, docs/reports/trust.json of this version.
        guarantees: dict, docs/reports/guarantees.json of this version.
        scope: dict, docs/reports/scope.json of this version.
        seen: list of str, what was seen by eye in validation images.
        run: path of the training's folder.
        segmenter: the preset, for what it does to masks and probabilities.
        params, size, digest: of the weights: int, megabytes, SHA-256.
        commit: str. Of the package that trained them.
        minutes: int or None. Of the training, on one core.
    """
    configuration = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    trained = [name for one in configuration["data"]["sources"] for name in one["datasets"]]
    return CARD.format(
        metadata=_metadata(results),
        targets=_targets(configuration["model"]["targets"]),
        postprocessing=_postprocessing(segmenter.postprocessing),
        image_sizes=_image_sizes(segmenter.preprocessor.image_converter.image_sizes),
        quality=_quality(trust),
        accepted=_accepted(trust),
        temperatures=_temperatures(segmenter.probability_calibration),
        calibration=_calibration(guarantees),
        scope=_scope(scope),
        params=params,
        size=size,
        digest=digest,
        commit=commit,
        minutes=f"{minutes} minutes, " if minutes else "",
        machine=results["machine"],
        keras=results["keras"],
        earlier=earlier["preset"],
        sources=source_table(_used(trained, results)),
        weaknesses=_weaknesses(results, seen),
        subgroups=subgroup_table(results),
        phases=_phases(run),
        **{f"modalities_{split}": modality_table(results, earlier, split) for split in SPLITS},
        **{split: _table(results, earlier, split) for split in SPLITS},
    )


def _image_sizes(sizes):
    """Say which modalities are segmented at another size."""
    if not sizes:
        return "Images of all modalities are segmented at 256 x 256."
    of = ", ".join(
        f"{name} at {height} x {width} (about {height * width / 256**2:.1f} times the time)"
        for name, (height, width) in sizes.items()
    )
    return (
        f"Images are segmented at 256 x 256, but those of {of}: val gained by it. An exported "
        "model of several modalities has one size, 256 x 256 by default; one of a single modality "
        "has its own."
    )


def _metadata(results):
    """What hub tools read."""
    evaluated = []
    for split in SPLITS:
        for measure, title in (("dice", "Dice"), ("iou", "IoU")):
            means = Means(rows_of(results, split), measure, draws=1)
            several = [key[2] for key in means.sets]
            for key in means.sets:
                # Hubs put all results of one data set together.
                name = key[2] if several.count(key[2]) == 1 else f"{key[2]}:{key[1]}"
                evaluated.append(
                    EvalResult(
                        task_type="image-segmentation",
                        dataset_type=name,
                        dataset_name=name,
                        dataset_split=split,
                        metric_type=measure,
                        metric_name=title,
                        metric_value=round(means.of_set(*key)[0], 4),
                    )
                )
    data = ModelCardData(
        library_name="keras-hub",
        license="other",
        license_name="research-use-only",
        tags=["image-segmentation", "medical", "keras", "esp-medsam"],
        pipeline_tag="image-segmentation",
        metrics=["dice", "iou"],
        model_name=NAME,
        eval_results=evaluated,
    )
    return data.to_yaml()


def _targets(by_modality):
    rows = []
    for modality, names in by_modality.items():
        names = [names] if isinstance(names, str) else names
        rows.append([modality, ", ".join(f"`{name}`" for name in names)])
    return table(["modality", "targets, in their order"], rows)


def _postprocessing(rules):
    rows = [
        [f"{modality}: {target}", ", ".join(f"`{name}` {value}" for name, value in one.items())]
        for modality, of_targets in rules.items()
        for target, one in of_targets.items()
        if one
    ]
    if not rows:
        return "Nothing is done to the masks: on val, no option helped."
    return table(["target", "what is done to its masks, as chosen on val"], rows)


def _quality(trust):
    rows = []
    for split in SPLITS:
        own = trust["splits"][split]
        rows.append(
            [split, own["masks"], f"{own['dice']:.3f}", f"{own['predicted']:.3f}"]
            + [cell(own[name]) for name in ("pearson", "spearman", "error")]
        )
    header = ["split", "masks", "Dice", "predicted", "Pearson", "Spearman", "absolute error"]
    return table(header, rows)


def _accepted(trust):
    said = []
    for split, name in zip(SPLITS, ("test masks", "unseen ones"), strict=True):
        one = trust["accepted"][split]
        good = f"{one['good'] or 0:.0%}"
        good += " of these have a Dice of at least 0.8" if split == SPLITS[0] else ""
        said.append(f"{one['share']:.0%} of the {name}{'' if said else ' are accepted'} ({good})")
    least = f"At a predicted Dice of {trust['threshold']:.3f} or more, chosen on val, "
    return f"{least}{', and '.join(said)}."


def _scope(scope):
    rows = [
        [name, one["images"], f"{one['flagged']:.1%}", f"{one['low']:.1%} to {one['high']:.1%}"]
        for name, one in scope["groups"].items()
    ]
    return table(["images", "number", "flagged", "95 % interval"], rows)


def _temperatures(calibration):
    return ", ".join(
        f"{target} ({modality}) {one.get('temperature', 1):.2f}"
        for modality, of in calibration.items()
        for target, one in of.items()
    )


def _calibration(guarantees):
    rows = []
    for split in SPLITS:
        own = [row for row in guarantees["calibration"] if row["split"] == split]
        rows.append(
            [split, len(own)]
            + [
                f"{np.mean([row[kind][measure] for row in own]):.4f}"
                for measure in ("ece", "brier")
                for kind in ("none", "temperature")
            ]
        )
    header = ["split", "sets and targets", "ECE before", "ECE", "Brier before", "Brier"]
    return table(header, rows)


def _table(results, earlier, split):
    rows, before = rows_of(results, split), Means(rows_of(earlier, split))
    means = Means(rows)
    others = [Means(rows, measure) for measure in MEASURES]
    lines = []
    for key in means.sets:
        cells = [
            f"{one.of_set(*key)[0]:.{1 if one is others[-1] else 3}f}" if key in one.sets else ""
            for one in others
        ]
        old = f"{before.of_set(*key)[0]:.3f}" if key in before.sets else ""
        lines.append([key[2], key[1], means.counts[key], cell(means.of_set(*key)), old, *cells])
    header = ["data set", "target", "images", "Dice", f"Dice of {earlier['preset']}"]
    return table([*header, "IoU", "precision", "recall", "HD95 (pixels)"], lines)


def _used(trained, results):
    """What each data set was used for."""
    used = {name: "training" for name in trained}
    for split in SPLITS:
        for row in rows_of(results, split):
            name = row["dataset"]
            if split not in used.get(name, ""):
                used[name] = f"{used[name]}, {split}" if name in used else split
    return used


def _weaknesses(results, seen):
    """The sets on which more is missed than found, and the targets that no other hospital has."""
    lines, sets = [], {split: Means(rows_of(results, split), draws=1).sets for split in SPLITS}
    for split in SPLITS:
        means = Means(rows_of(results, split), draws=1)
        for key in means.sets:
            value = means.of_set(*key)[0]
            if value < WEAK:
                lines.append((value, f"- {key[2]} ({split}), {key[1]}: mean Dice {value:.2f}."))
    unseen = {key[:2] for key in sets["unseen"]}
    alone = sorted({key[:2] for key in sets["test"]} - unseen)
    listed = ", ".join(target.replace("_", " ") for _, target in alone)
    lines = [line for _, line in sorted(lines)] or [f"- No data set below a Dice of {WEAK}."]
    if alone:
        lines.append(f"- How well it does elsewhere is not known for {listed}: no unseen set.")
    if seen:
        lines.append("- Seen in validation images, by a vision-language model and no physician:")
        lines += [f"    - {one}" for one in seen]
    return "\n".join(lines)


def _phases(run):
    rows = []
    for log in sorted(run.glob("*/curves.csv")):
        with log.open(newline="") as file:
            epochs = list(csv.DictReader(file))
        best = max(float(row["val_masks_dice"]) for row in epochs)
        rows.append([log.parent.name.partition("-")[2], len(epochs), f"{best:.3f}"])
    return table(["image size", "epochs", "best Dice on val"], rows)


CARD = """\
---
{metadata}
---
# espmedsam_nano_256

A small ESP-MedSAM (configuration ours) for six modalities and twelve targets, trained on images of
256 x 256 pixels. {params:,} parameters with all modality controllers, {size:.1f} MB.
EfficientNet-Lite0 encoder, embeddings at a stride of 8, masks at the image's own resolution by a
detail branch (ours).

{targets}

The optic cup lies in the disc, arteries and veins in the vessels. Nuclei are told apart.

{image_sizes}

{postprocessing}

**Research use only; not a medical device.** The weights were trained on data whose terms forbid
other use (below). Intended for research and teaching: comparing methods, a start for fine-tuning,
prompts for annotation that a person corrects. Not intended for diagnosis.

## Versions

This is version 2. `{earlier}` has a TinyViT encoder, began from random weights and was trained on
one data set of each modality; it gives one mask for an image, the first target of the table above.
For that mask alone: `segment(image, "fundus", targets="vessels")`, or `--target vessels`.

## Results

Mean over the images and its 95 % bootstrap interval; per image at its own size, threshold 0.5, with
the preset's post-processing. Test: other images of the data sets that it was trained on.

{test}

Unseen: other hospitals, cameras and laboratories, never trained or tuned on.

{unseen}

By modality, test:

{modalities_test}

Unseen:

{modalities_unseen}

Subgroups:

{subgroups}

    ESPMEDSAM_DATA=DATA python benchmarks/preset_accuracy.py measure espmedsam_nano_256

Keras {keras}. More measures, calibration, kinds of error and the images on which it fails:
`docs/reports/results.md` in the package's repository.

## Quality and calibration

`segment` returns a predicted Dice for each mask, from a regression on the mask's own probabilities
that was fitted to val. At home and elsewhere, with 95 % intervals:

{quality}

{accepted} A mask that the model is sure of and wrong about is not found out: see
`docs/reports/trust.md`.

`in_scope` says whether an image looks like those of the modality that was said, by a regression on
the embedding that was fitted to training images, with a threshold of 2 % on val. Flagged are:

{scope}

`unseen` are proper images of other hospitals; each modality, data set and other part of the body:
`docs/reports/scope.md`.

Probabilities are divided by a temperature of their logits, fitted to val; masks at 0.5 do not
change. Temperatures: {temperatures}.

The expected calibration error (15 bins) and the Brier score of all pixels,
means over the data sets and targets:

{calibration}

No guarantee comes with the preset: it would hold for the place whose images it was chosen on. Your
own: `espmedsam calibrate`. Each data set: `docs/reports/guarantees.md`.

## Training

The encoder from ImageNet (below), everything else from random weights, on labels alone. Val chose
the weights and the post-processing; test and unseen were looked at for these tables and those of
`docs/reports/results.md` only. Package at commit {commit}; {minutes}{machine}.

    espmedsam train examples/configs/pretrained.yaml

{phases}

## Weaknesses

{weaknesses}
- An image without a target gets a mask all the same: nearly all training images hold one.
- Vessels that are one pixel wide in a large photograph are lost when it is made smaller.
- The modality must be named rightly; a wrong one gives a confident wrong mask.

## Data

{sources}

## Files

`model.weights.h5`, SHA-256 `{digest}`; all files in `SHA256SUMS`.
"""
