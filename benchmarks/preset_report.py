"""docs/reports/results.md and its figures, from what `preset_accuracy.py measure` wrote."""

import json
import pathlib

import numpy as np
from paper_table import paper_table
from preset_statistics import (
    SPLITS,
    Means,
    calibration_error,
    common_rows,
    interval,
    load,
    rows_of,
    subgroup_rows,
)
from report_pages import cell, cell_of, table

from keras_espmedsam.data import atomic_path

PRESET = "espmedsam_nano_256"
MEASURES = {"iou": "IoU", "precision": "precision", "recall": "recall", "hd95": "HD95 (pixels)"}
OBJECT_MEASURES = {"ap50": "AP50", "pq": "PQ", "aji": "AJI", "count_error": "error of the number"}
WORST = 5


def versions(folder, preset=PRESET):
    """The versions of a preset that were measured, oldest first."""
    names = [path.stem for path in pathlib.Path(folder).glob(f"{preset}@*.json")]
    return sorted(names, key=lambda name: int(name.rpartition("@")[2]))


def modality_table(newest, earlier, split):
    """The mean Dice of each modality: all targets, and those that the earlier version has, too."""
    means = Means(rows_of(newest, split))
    header = ["modality", "targets", newest["preset"]]
    rows = [
        [one, ", ".join(means.targets(one)), cell(means.of_modality(one))]
        for one in means.modalities()
    ]
    rows.append(["**mean of the modalities**", "", f"**{cell(means.of_all())}**"])
    if earlier:
        new, old = common_rows(newest, earlier, split)
        shared = [Means(new), Means(old), Means(new, other=old)]
        header += ["of them in both", f"{newest['preset']}, these", earlier["preset"], "difference"]
        for row, one in zip(rows, shared[0].modalities(), strict=False):
            row += [", ".join(shared[0].targets(one)), *(cell(m.of_modality(one)) for m in shared)]
        rows[-1] += ["", *(f"**{cell(m.of_all())}**" for m in shared)]
    return table(header, rows)


def dataset_table(newest, earlier, split):
    """The Dice of each data set and target."""
    means = Means(rows_of(newest, split))
    header = ["data set", "target", "images", newest["preset"]]
    compared = {}
    if earlier:
        header += [earlier["preset"], "difference"]
        new, old = common_rows(newest, earlier, split)
        before, change = Means(old), Means(new, other=old)
        compared = {
            key: [cell(before.of_set(*key)), cell(change.of_set(*key))] for key in change.sets
        }
    rows = []
    for key in means.sets:
        modality, target, dataset = key
        cells = compared.get(key, ["", ""] if earlier else [])
        rows.append(
            [f"{dataset} ({modality})", target, means.counts[key], cell(means.of_set(*key)), *cells]
        )
    return table(header, rows)


def measure_table(newest, split):
    """Other measures of each data set and target."""
    rows = rows_of(newest, split)
    found = {measure: Means(rows, measure) for measure in MEASURES}
    return table(
        ["data set", "target", *MEASURES.values()],
        [
            [
                key[2],
                key[1],
                *(
                    cell_of(means, key, 1 if measure == "hd95" else 3)
                    for measure, means in found.items()
                ),
            ]
            for key in found["iou"].sets
        ],
    )


def object_table(newest):
    """Measures of single objects, where the data numbers them; empty where none were measured."""
    lines = []
    for split in SPLITS:
        rows = [row for row in rows_of(newest, split) if row.get("pq") is not None]
        found = {measure: Means(rows, measure) for measure in OBJECT_MEASURES} if rows else {}
        for key in found["pq"].sets if found else ():
            cells = [
                cell_of(means, key, 1 if measure == "count_error" else 3)
                for measure, means in found.items()
            ]
            count = found["pq"].counts[key]
            lines.append([f"{key[2]} ({split})", key[1], count, *cells])
    return table(["data set", "target", "images", *OBJECT_MEASURES.values()], lines)


def subgroup_table(newest):
    """The Dice of subgroups: sequences, cases, diagnoses."""
    return table(
        ["data set", "target", "subgroup", "images", "Dice"],
        [
            [f"{dataset} ({split})", target, name, len(values), cell(_of_values(values))]
            for split, dataset, target, name, values in subgroup_rows(newest)
        ],
    )


def _of_values(values):
    rng = np.random.default_rng(0)
    drawn = values[rng.integers(0, len(values), (2000, len(values)))].mean(-1)
    return interval(np.concatenate([[values.mean()], drawn]))


def calibration_table(newest, earlier):
    """The expected calibration error of each data set and target."""
    results = [newest, *([earlier] if earlier else [])]
    rows = []
    for key, counts in newest["calibration"].items():
        others = [one["calibration"].get(key) for one in results[1:]]
        values = [f"{calibration_error(one):.4f}" if one else "" for one in (counts, *others)]
        rows.append([*key.split(":"), *values])
    return table(["data set", "target", *(one["preset"] for one in results)], sorted(rows))


def worst(newest):
    """The images of lowest Dice of each modality and target, test and unseen together."""
    groups = {}
    for row in newest["images"]:
        groups.setdefault((row["modality"], row["target"]), []).append(row)
    parts = []
    for (modality, target), rows in sorted(groups.items()):
        rows = sorted(rows, key=lambda row: (row["dice"], row["image"]))[:WORST]
        lines = [
            [f"`{row['image']}`", row["split"], *(row[k] for k in ("dice", "precision", "recall"))]
            for row in rows
        ]
        listed = table(["file", "split", "Dice", "precision", "recall"], lines)
        parts.append(f"### {modality.capitalize()}: {target}\n\n{listed}")
    return "\n\n".join(parts)


def draw_datasets(newest, earlier, path):
    """Dice of each data set and target with its interval, both versions."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8), layout="constrained")
    for axes, split in zip(figure.subplots(1, 2, sharex=True), SPLITS, strict=True):
        keys = list(Means(rows_of(newest, split)).sets)
        results = [newest, *([earlier] if earlier else [])]
        for number, result in enumerate(results):
            means = Means(rows_of(result, split))
            for y, key in enumerate(keys):
                if key in means.sets:
                    value, low, high = means.of_set(*key)
                    axes.errorbar(
                        value,
                        y + 0.2 * number,
                        xerr=[[value - low], [high - value]],
                        fmt="os"[number],
                        color=f"C{number}",
                        label=result["preset"] if y == 0 else None,
                    )
        axes.set_yticks(range(len(keys)), [f"{key[2]}: {key[1]}" for key in keys])
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.3)
        axes.set(title=split, xlabel="Dice, 95 % interval", xlim=(0, 1))
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    _save(figure, path)


def draw_calibration(newest, path):
    """Share of foreground against the probability that was given, a panel for each split's sets."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    of_split = {split: {row["dataset"] for row in rows_of(newest, split)} for split in SPLITS}
    for axes, split in zip(figure.subplots(1, 2, sharey=True), SPLITS, strict=True):
        axes.plot([0, 1], [0, 1], color="0.7")
        for key, counts in sorted(newest["calibration"].items()):
            if key.split(":")[0] in of_split[split]:
                number, said, true = np.array(counts)
                held = number > 0
                axes.plot(said[held] / number[held], true[held] / number[held], ".-", label=key)
        axes.set(xlabel="probability given", title=split)
        axes.legend(fontsize="x-small", loc="upper left")
    figure.axes[0].set_ylabel("share of foreground")
    _save(figure, path)


def _save(figure, path):
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=80)


DOCUMENT = """\
# Results

How well `{newest}` does on every test and unseen image of the data. Written by

{commands}
    python benchmarks/preset_accuracy.py report

from the [measures of every image](results/presets). {machine}; Keras {keras}. Weights and
post-processing are chosen on val; test and unseen are read by `measure` alone.

Test holds other images of the sets that were trained on; unseen holds sets of other hospitals,
cameras and laboratories. Dice is taken per image and target at the image's own size, threshold 0.5,
with the preset's post-processing. A set's mean is over its images, a target's over its sets, a
modality's over its targets, and the last over the modalities. Intervals are 95 %, by 2,000 draws of
the images within each set: they are over images, not over trainings. A set counts alike however few
its images.

What each part of the model was worth at a budget of 90 minutes, on the data of version 1:
[systems](systems.md).

## Dice by modality

Test:

{modalities_test}

Unseen:

{modalities_unseen}

## Dice by data set

![Dice of every data set](results/presets/datasets.png)

Test:

{datasets_test}

Unseen:

{datasets_unseen}

## In the layout of the paper

The sets of the [ESP-MedSAM paper](https://arxiv.org/abs/2407.14153), one of each modality at home
and one unseen, where the data has them. These figures are not comparable with the paper's: it
trains on one set of each modality, at 1024 x 1024, with a teacher that saw many more images, and
tests on whole sets. Here the network is smaller and begins from ImageNet, several sets are trained
on, images are at most 384 pixels long (584 for fundus), and the sets are parts of theirs. Dice and
IoU are of each image, without the paper's smoothing of 1.

{paper}

## Other measures

Test:

{measures_test}

Unseen:

{measures_unseen}
{objects}
## Subgroups

Sequences of endoscopies, cases of histology, and diagnoses, of sets that have several:

{subgroups}
{errors}
## Calibration

Expected calibration error over all pixels of a set (20 bins), of the probabilities as the network
gives them; [with the preset's temperatures](guarantees.md#probabilities) it is smaller.

{calibration}

![Reliability](results/presets/calibration.png)

## The worst images

{worst}
"""
OBJECTS = """
## Objects

Nuclei of which the data numbers each, means over the images; the measures are on the page of
[metrics](../reference/metrics.md).

{table}
"""


def write(docs, folder):
    """Write results.md into `docs` and the figures into `folder`.

    Raises:
        SystemExit: when nothing was measured.
    """
    names = versions(folder)
    if not names:
        raise SystemExit(
            f"No version of {PRESET} is measured yet: python benchmarks/preset_accuracy.py measure"
        )
    newest = load(folder, names[-1])
    earlier = load(folder, names[-2]) if names[1:] else None
    draw_datasets(newest, earlier, folder / "datasets.png")
    draw_calibration(newest, folder / "calibration.png")
    errors = folder / "error_kinds.json"
    by_split = {
        f"{name}_{split}": function
        for split in SPLITS
        for name, function in (
            ("modalities", modality_table(newest, earlier, split)),
            ("datasets", dataset_table(newest, earlier, split)),
            ("measures", measure_table(newest, split)),
        )
    }
    text = DOCUMENT.format(
        newest=newest["preset"],
        commands="\n".join(
            "    ESPMEDSAM_DATA=DATA KERAS_BACKEND={backend} python "
            "benchmarks/preset_accuracy.py measure {name}".format(
                name=one["preset"], backend=one["keras"].rpartition(" ")[2]
            )
            for one in ([earlier] if earlier else []) + [newest]
        ),
        machine=newest["machine"],
        keras=newest["keras"],
        paper=paper_table(newest),
        objects=OBJECTS.format(table=object_table(newest))
        if any(row.get("pq") is not None for row in newest["images"])
        else "",
        subgroups=subgroup_table(newest),
        errors=error_section(errors) if errors.exists() else "",
        calibration=calibration_table(newest, earlier),
        worst=worst(newest),
        **by_split,
    )
    with atomic_path(docs / "results.md") as temporary:
        temporary.write_text(text, encoding="utf-8")


def error_section(path):
    """What `error_kinds.py` counted, and what was seen by eye."""
    import error_kinds

    by_eye = path.with_stem(f"{path.stem}_by_eye")
    return error_kinds.section(
        *(json.loads(one.read_text(encoding="utf-8")) for one in (path, by_eye) if one.exists())
    )
