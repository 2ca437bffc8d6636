"""The report of leave_one_out.py: Dice on sets that were held out, and at home."""

import json

import numpy as np
from report_pages import table

from keras_espmedsam.errors import InputError

TITLES = {"elsewhere": "on data sets that were held out", "home": "at home, on val"}


def by_set(trainings, where):
    """Return dict of modality to dict of (data set, target) to its Dice, `(images, seeds)`.

    Args:
        trainings: list over seeds of the images' results, each in the same order.
        where: `"elsewhere"` or `"home"`.
    """
    found: dict[str, dict] = {}
    for images in zip(*trainings, strict=True):
        one = images[0]
        if one["where"] == where:
            sets = found.setdefault(one["modality"], {})
            values = [image["dice"] for image in images]
            sets.setdefault((one["dataset"], one["target"]), []).append(values)
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

    Images are drawn anew within each set, and seeds anew for all sets, in pairs.

    Args:
        one, other: as `by_set` returns it, of the same images and seeds.
    """
    sets = {
        modality: {name: values - other[modality][name] for name, values in own.items()}
        for modality, own in one.items()
    }
    rng = np.random.default_rng(seed)
    seeds = next(iter(next(iter(sets.values())).values())).shape[1]
    drawn = []
    for _ in range(draws):
        columns = rng.integers(seeds, size=seeds)
        drawn.append(
            mean_of_modalities(
                sets,
                lambda own, of=columns: own[rng.integers(len(own), size=len(own))][:, of].mean(),
            )
        )
    return mean_of_modalities(sets), *np.quantile(drawn, (0.025, 0.975)).tolist()


def finding(elsewhere, home):
    """Say in words what a gain elsewhere and one at home, each with its interval, come to.

    Example:
        >>> finding((0.02, 0.01, 0.03), (0.0, -0.01, 0.01))
        'helps'
    """
    if elsewhere[2] < 0 or home[2] < 0:
        return "hurts"
    if elsewhere[1] > 0:
        return "helps"
    return "helps at home only" if home[1] > 0 else "no difference shown"


def read_results(output):
    """Return dict of recipe to dict of (fold, seed) to its result, in the order of their making."""
    found: dict[str, dict] = {}
    paths = sorted(output.glob("*/fold*-seed*.json"), key=lambda path: path.stat().st_mtime)
    for path in paths:
        result = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(result["recipe"], {})[result["fold"], result["seed"]] = result
    return found


def groups_of(results, base=None):
    """Return dict of each base to the results that are compared with it, its own first.

    Args:
        results: as `read_results` returns it.
        base: str or None. The base of all; None is each result's own.
    """
    lengths = {
        (one["steps"], one["images_of_a_set"]) for own in results.values() for one in own.values()
    }
    if len(lengths) > 1:
        raise InputError(
            f"The results have (steps, images of each set) of {sorted(lengths, key=str)}; compare "
            "those that have the same."
        )
    groups: dict[str, dict] = {}
    for name, own in results.items():
        groups.setdefault(base or next(iter(own.values()))["base"], {})[name] = own
    for one, own in groups.items():
        if one not in results:
            raise InputError(
                f"The recipe {one}, which others are compared with, has no results; run it, or "
                "name another by --base."
            )
        groups[one] = {one: results[one], **own}
    return groups


def runs_of(group):
    """Return the folds, and the seeds of each of them, that all recipes of a group have.

    Raises:
        InputError: if there are none.
    """
    common = set.intersection(*(set(own) for own in group.values()))
    if not common:
        raise InputError("No fold is measured for all recipes; run more of them, or leave one out.")
    folds = sorted({fold for fold, _ in common})
    seeds = sorted({seed for _, seed in common})
    complete = [seed for seed in seeds if all((fold, seed) in common for fold in folds)]
    if not complete:
        folds = sorted(fold for fold, seed in common if seed == seeds[0])
        complete = seeds[:1]
    return folds, complete


def compare(group):
    """Compare a group with its base, the first.

    Returns:
        dict of recipe to dict of `elsewhere` and `home`: `sets`, as `by_set` returns it, `mean`
        and `gain`, with its interval; a place without images is left out.
    """
    folds, seeds = runs_of(group)
    found: dict[str, dict] = {}
    base = None
    for name, own in group.items():
        trainings = [[one for f in folds for one in own[f, s]["images"]] for s in seeds]
        sets = {where: by_set(trainings, where) for where in TITLES}
        base = base or sets
        found[name] = {
            where: {
                "sets": own_sets,
                "mean": mean_of_modalities(own_sets),
                "gain": paired_difference(own_sets, base[where]),
            }
            for where, own_sets in sets.items()
            if own_sets
        }
    return found


def figures(results, base=None):
    """Return what the report says, for JSON: lists of groups, and of recipes in each."""
    found = []
    for group in groups_of(results, base).values():
        folds, seeds = runs_of(group)
        one = next(iter(next(iter(group.values())).values()))
        recipes = [
            {
                "recipe": name,
                **{
                    where: {
                        "mean": round(own[where]["mean"], 4),
                        "gain": [round(value, 4) for value in own[where]["gain"]],
                        "sets": {
                            f"{modality}/{' '.join(filter(None, key))}": round(float(np.mean(v)), 4)
                            for modality, sets in own[where]["sets"].items()
                            for key, v in sets.items()
                        },
                    }
                    for where in own
                },
            }
            for name, own in compare(group).items()
        ]
        about = {key: one[key] for key in ("plan", "steps", "images_of_a_set", "keras", "machine")}
        found.append({**about, "folds": folds, "seeds": seeds, "recipes": recipes})
    return found


def tables(group):
    """Return the tables of a group, in Markdown: first what helps, then each modality and set."""
    found = compare(group)
    base, *others = found
    rows = []
    for name, own in found.items():
        row = [name]
        for where in own:
            gain = "" if name == base else _interval(own[where]["gain"])
            row += [f"{own[where]['mean']:.3f}", gain]
        if len(own) == len(TITLES) and name != base:
            row.append(finding(*(own[where]["gain"] for where in TITLES)))
        rows.append([*row, *[""] * (2 * len(own) + 2 - len(row))])
    titles = [cell for where in found[base] for cell in (f"Dice {where}", f"over {base}")]
    text = f"\n{table(['recipe', *titles, 'finding'], rows)}\n" if others else ""
    for where, title in TITLES.items():
        if where not in found[base]:
            continue
        sets = {name: own[where]["sets"] for name, own in found.items()}
        modalities = list(sets[base])
        rows = []
        for name, own in sets.items():
            means = [mean_of_modalities({m: own[m]}) for m in modalities]
            cells = [f"{value:.3f}" for value in (*means, found[name][where]["mean"])]
            gain = "" if name == base else _interval(found[name][where]["gain"])
            rows.append([name, *cells, gain])
        listed = table(["Dice", *modalities, "mean", f"over {base}"], rows)
        text += f"\nDice {title}:\n\n{listed}\n"
        names = [(m, *key) for m in modalities for key in sets[base][m]]
        rows = [
            [
                *(" ".join(filter(None, (dataset, target))), modality),
                *(f"{np.mean(own[modality][dataset, target]):.3f}" for own in sets.values()),
                str(len(sets[base][modality][dataset, target])),
            ]
            for modality, dataset, target in names
        ]
        text += f"\n{table(['data set', 'modality', *sets, 'images'], rows)}\n"
    return text


def _interval(found):
    value, low, high = found
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


def page(results, output, base=None):
    """Return the report, in Markdown."""
    one = next(iter(next(iter(results.values())).values()))
    steps = "the steps of the configuration" if one["steps"] is None else f"{one['steps']} steps"
    text = (
        "# Leave one data set out\n\n"
        f"Written by `benchmarks/leave_one_out.py`, of the recipes in `benchmarks/{one['plan']}`. "
        "Dice of each image at its own size; the mean of the sets of a modality, then the mean of "
        "the modalities. Intervals are 95 %, over images drawn anew within each set and over seeds "
        "drawn anew: of one seed, they hold for these trainings alone. A recipe *helps* if the "
        "interval of its gain elsewhere is above zero and that at home is not below it. Of `train` "
        "and `val` alone.\n\n"
        f"Each recipe was trained for {steps}, on {one['machine']}, Keras {one['keras']}. Teachers "
        "have learnt before, for steps of their own, without the sets that were held out.\n"
    )
    for group in groups_of(results, base).values():
        folds, seeds = runs_of(group)
        text += (
            f"\n## Compared with {next(iter(group))}\n\nFolds {', '.join(map(str, folds))}; seeds "
            f"{', '.join(map(str, seeds))}.\n{tables(group)}"
        )
    backend = one["keras"].split(", ")[-1]
    return (
        f"{text}\n## How\n\n    ESPMEDSAM_DATA=DATA KERAS_BACKEND={backend} OMP_NUM_THREADS=1 \\\n"
        f"        python benchmarks/leave_one_out.py run --recipes benchmarks/{one['plan']} \\\n"
        f"        --output runs/{output.name}"
        + (f" --steps {one['steps']}" if one["steps"] else "")
        + "\n"
    )
