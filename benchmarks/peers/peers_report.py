"""docs/reports/peers.md and peers.json, from what `compare.py` measured."""

import json

import numpy as np
from peer_data import MODALITIES, SPLITS
from peer_table import OURS

from keras_espmedsam.data import atomic_path

DRAWS = 4000
TITLES = {"test": "On test images of the sets trained on", "unseen": "On sets of other hospitals"}


def set_means(images, split):
    """Return dict of modality to dict of data set to its mean Dice."""
    values: dict[str, dict] = {}
    for one in images:
        if one["split"] == split:
            sets = values.setdefault(one["modality"], {})
            sets.setdefault(one["dataset"], []).append(one["dice"])
    return {m: {name: float(np.mean(v)) for name, v in own.items()} for m, own in values.items()}


def mean_of_modalities(means):
    """Return the mean over modalities of the mean over their sets."""
    return float(np.mean([np.mean(list(own.values())) for own in means.values()]))


def paired(ours, other, split, draws=DRAWS, seed=0):
    """Return the difference of two peers on the same images, and its 95 percent interval.

    Clusters are drawn anew within each set, in pairs: all images of a `group` (a sequence or a
    patient) together. Images without a group, and those of a set with one group, are clusters of
    their own.

    Args:
        ours, other: lists of images with their `dice`.
        split: str.

    Raises:
        ValueError: for results of different images.
    """
    others = {one["image"]: one["dice"] for one in other if one["split"] == split}
    own = [one for one in ours if one["split"] == split]
    if {one["image"] for one in own} != set(others):
        raise ValueError(
            f"The two results are of different images of {split}; measure both on the same index."
        )
    sets: dict[str, dict[str, dict]] = {}
    for one in own:
        clusters = sets.setdefault(one["modality"], {}).setdefault(one["dataset"], {})
        difference = one["dice"] - others[one["image"]]
        clusters.setdefault(one["group"] or one["image"], []).append(difference)
    rng = np.random.default_rng(seed)
    values, drawn = [], []
    for of_modality in sets.values():
        found = [_drawn(clusters, rng, draws) for clusters in of_modality.values()]
        values.append(np.mean([value for value, _ in found]))
        drawn.append(np.mean([one for _, one in found], axis=0))
    low, high = np.quantile(np.mean(drawn, axis=0), (0.025, 0.975))
    return float(np.mean(values)), float(low), float(high)


def _drawn(clusters, rng, draws):
    """Return a set's mean difference, and that of each draw of its clusters."""
    parts = list(clusters.values())
    if len(parts) == 1:
        parts = [[value] for value in parts[0]]
    sums, sizes = (np.array([function(one) for one in parts]) for function in (sum, len))
    rows = rng.integers(len(parts), size=(draws, len(parts)))
    return sums.sum() / sizes.sum(), sums[rows].sum(axis=1) / sizes[rows].sum(axis=1)


def dice_table(results, split):
    """Return a row for each peer: its modalities, their mean, and how far ours is ahead."""
    rows = []
    for name, result in results.items():
        means = set_means(result["images"], split)
        cells = [f"{np.mean(list(means[one].values())):.3f}" for one in MODALITIES if one in means]
        ahead = ""
        if name != OURS:
            value, low, high = paired(results[OURS]["images"], result["images"], split)
            ahead = f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
        rows.append([result["title"], *cells, f"{mean_of_modalities(means):.3f}", ahead])
    present = set_means(results[OURS]["images"], split)
    names = [one for one in MODALITIES if one in present]
    return _table(["Dice", *names, "mean", "ours minus this"], rows)


def sets_table(results, split):
    """Return a row for each data set, a column for each peer."""
    rows = []
    means = {name: set_means(result["images"], split) for name, result in results.items()}
    for modality, sets in means[OURS].items():
        for dataset in sets:
            cells = [f"{own[modality][dataset]:.3f}" for own in means.values()]
            rows.append([dataset, modality, *cells])
    return _table(["", "", *(result["title"] for result in results.values())], rows)


def methods_table(results):
    rows = []
    for result in results.values():
        rows.append(
            [
                result["title"],
                f"{result['parameters'] / 1e6:.2f} M",
                f"{result['cpu_seconds']:.0f}",
                result["steps"],
                result["augmentation"],
                result["changed"],
                result["licence"],
            ]
        )
    header = ["", "parameters", "CPU seconds", "steps", "augmentation", "settings", "licence"]
    return _table(header, rows)


def _table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


DOCUMENT = """\
# What people would pick, for the same CPU time

Written by `benchmarks/peers/compare.py`; the Dice of every image is in [peers.json](peers.json).
Each method was trained on the same images, {budget:g} CPU seconds of one core for all six
modalities together, seed {seed}, on {machine}.
One network segments all modalities, except that nnU-Net has one for each, with a sixth of the time.

Dice of each image at its own size, threshold 0.5; the mean of the images of a set, then of the sets
of a modality, then of the modalities. Intervals are 95 %, over images, and over whole sequences and
patients where the data name them (a set of one sequence counts image by image). They hold for these
trainings, of one seed: another seed may differ by more. So short a training favours networks that
begin with pretrained weights; no method was tuned for it.

{tables}

## Methods

{methods}

CPU seconds are of the process that trains, from its start; preparing files, and choosing the number
of our steps by a short timing, is not counted. A network of ours takes the steps that this timing
foresees, and so may use less than the budget; others end with it. Other work on the machine makes a
step take more CPU time, and was not the same for all of them.

## How

    ESPMEDSAM_DATA=DATA ESPMEDSAM_LITE0=PRESET ESPMEDSAM_LITE0_PTH=FILE.pth \\
        python benchmarks/peers/compare.py run --budget {budget:g} --seed {seed} \\
        --python PEERS_PYTHON
    python benchmarks/peers/compare.py report --budget {budget:g} --seed {seed}
"""


def page(results):
    """Return the report, in Markdown.

    Args:
        results: dict of peer to what `measure` wrote; one is of `OURS`.
    """
    ours = results[OURS]
    tables = [
        f"## {TITLES[split]}\n\n{dice_table(results, split)}\n\n{sets_table(results, split)}"
        for split in SPLITS
        if set_means(ours["images"], split)
    ]
    return DOCUMENT.format(
        **{key: ours[key] for key in ("budget", "seed", "machine")},
        tables="\n\n".join(tables),
        methods=methods_table(results),
    )


def write(folder, results):
    """Write peers.md and peers.json."""
    with atomic_path(folder / "peers.json") as temporary:
        temporary.write_text(_json(results), encoding="utf-8")
    with atomic_path(folder / "peers.md") as temporary:
        temporary.write_text(page(results), encoding="utf-8")


def _json(results):
    """JSON with one image a line."""
    parts = []
    for name, result in results.items():
        head = json.dumps({**result, "images": []}, indent=1)
        images = ",\n".join("  " + json.dumps(one) for one in result["images"])
        parts.append(
            f"{json.dumps(name)}: " + head.replace('"images": []', f'"images": [\n{images}\n ]')
        )
    return "{\n" + ",\n".join(parts) + "\n}\n"
