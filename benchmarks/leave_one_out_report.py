"""The report of leave_one_out.py: Dice on sets that were held out, and at home."""

import json

import numpy as np

from keras_espmedsam.errors import InputError

TITLES = {"elsewhere": "On data sets that were held out", "home": "At home, on val"}


def by_set(images, where):
    """Return dict of modality to dict of (data set, target) to its Dice, an array of images."""
    found: dict[str, dict] = {}
    for one in images:
        if one["where"] == where:
            sets = found.setdefault(one["modality"], {})
            sets.setdefault((one["dataset"], one["target"]), []).append(one["dice"])
    return {
        modality: {name: np.array(values) for name, values in sets.items()}
        for modality, sets in found.items()
    }


def mean_of_modalities(sets, mean=np.mean):
    """Return the mean over modalities of the mean over their sets; each counts once.

    Args:
        sets: as `by_set` returns it.
        mean: function of the images of a set.
    """
    return float(np.mean([np.mean([mean(one) for one in own.values()]) for own in sets.values()]))


def paired_difference(one, other, draws=2000, seed=0):
    """Return the gain of one recipe over another, and its 95 percent interval.

    Images are drawn anew within each set, in pairs.

    Args:
        one, other: as `by_set` returns it, of the same images.
    """
    sets = {
        modality: {name: values - other[modality][name] for name, values in own.items()}
        for modality, own in one.items()
    }
    rng = np.random.default_rng(seed)
    drawn = [
        mean_of_modalities(sets, lambda values: np.mean(rng.choice(values, len(values))))
        for _ in range(draws)
    ]
    return mean_of_modalities(sets), *np.quantile(drawn, (0.025, 0.975)).tolist()


def read_results(output):
    """Return dict of recipe to dict of fold to its result, in the order in which they were made."""
    found: dict[str, dict] = {}
    paths = sorted(output.glob("*/fold*.json"), key=lambda path: path.stat().st_mtime)
    for path in paths:
        result = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(result["recipe"], {})[result["fold"]] = result
    return found


def tables(results, base=None):
    """Return the report's tables, in Markdown.

    Recipes are compared on the folds that all of them have.
    """
    base = base or next(iter(results))
    lengths = {
        (one["steps"], one["images_of_a_set"]) for own in results.values() for one in own.values()
    }
    if len(lengths) > 1:
        raise InputError(
            f"The results have (steps, images of each set) of {sorted(lengths, key=str)}; compare "
            "those that have the same."
        )
    folds = sorted(set.intersection(*(set(own) for own in results.values())))
    if not folds:
        raise InputError("No fold is measured for all recipes; run more of them, or leave one out.")
    images = {
        name: [one for fold in folds for one in own[fold]["images"]]
        for name, own in results.items()
    }
    text = ""
    for where, title in TITLES.items():
        sets = {name: by_set(own, where) for name, own in images.items()}
        modalities = list(sets[base])
        if not modalities:
            continue
        rows = []
        for name, own in sets.items():
            means = [mean_of_modalities({m: own[m]}) for m in modalities]
            cells = [f"{value:.3f}" for value in (*means, mean_of_modalities(own))]
            gain = "" if name == base else _interval(paired_difference(own, sets[base]))
            rows.append([name, *cells, gain])
        text += f"\n## {title}\n\n" + _table(["Dice", *modalities, "mean", f"over {base}"], rows)
        names = [(m, *key) for m in modalities for key in sets[base][m]]
        rows = [
            [
                *(" ".join(filter(None, (dataset, target))), modality),
                *(f"{np.mean(own[modality][dataset, target]):.3f}" for own in sets.values()),
                str(len(sets[base][modality][dataset, target])),
            ]
            for modality, dataset, target in names
        ]
        text += "\n" + _table(["data set", "modality", *sets, "images"], rows)
    return text, folds


def _interval(found):
    value, low, high = found
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


def _table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def page(results, output, base=None):
    """Return the report, in Markdown."""
    found, folds = tables(results, base)
    one = next(iter(next(iter(results.values())).values()))
    steps = "the steps of the configuration" if one["steps"] is None else f"{one['steps']} steps"
    return (
        "# Leave one data set out\n\n"
        "Written by `benchmarks/leave_one_out.py`. Dice of each image at its own size; the mean of "
        "the sets of a modality, then the mean of the modalities. Intervals are 95 %, over images "
        "drawn anew within each set: they hold for these trainings, of one seed.\n\n"
        f"Each recipe was trained for {steps} in the folds {', '.join(map(str, folds))}, on "
        f"{one['machine']}, Keras {one['keras']}. Of `train` and `val` alone.\n{found}"
        "\n## How\n\n    ESPMEDSAM_DATA=DATA KERAS_BACKEND=torch OMP_NUM_THREADS=1 \\\n"
        f"        python benchmarks/leave_one_out.py run --output runs/{output.name}"
        + (f" --steps {one['steps']}" if one["steps"] else "")
        + "\n"
    )
