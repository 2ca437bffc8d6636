"""What `benchmarks/trust_report.py` shows: how the predicted quality compares with the true Dice.

- Pearson's and Spearman's correlation, and the mean absolute error.
- The area under the risk-coverage curve: masks are accepted from the best predicted one on, and the
  risk is the mean of 1 - Dice of those accepted. Beside it stand an oracle that knows the Dice, and
  two predictions that need no labels: the Dice that is expected under the probabilities, and their
  mean entropy.
- What a reader saves: masks are accepted from a threshold on, the smallest for which 95 % of the
  accepted masks of val have a Dice of at least 0.8. An oracle accepts all good masks, and others up
  to the same share.
- Each data set of val left out of the fit: what the network has learnt from it stays, so it shows
  what the coefficients are worth elsewhere, and not what the network is. The same mean error with
  other penalties of the regression.

Intervals are 95 %, by drawing the images of each data set anew.
"""

import warnings

import numpy as np
from scipy.stats import rankdata

from keras_espmedsam.evaluation.quality_regression import fit_coefficients, predicted_dice

SPLITS = ("val", "test", "unseen")
GOOD, SHARE, BAD = 0.8, 0.95, 0.5
DRAWS = 500
PENALTIES = (0.01, 0.1, 0.3, 1.0, 3.0)
SCORES = {"risk": "quality", "risk_oracle": "dice", "risk_expected": "expected"}
"""By figure, what masks are ordered by; the entropy is the other way round."""


def area_of_risk(scores, truth):
    """Area under the risk-coverage curve: the mean risk over all numbers of accepted masks."""
    return float(np.mean(risk_curve(scores, truth)))


def risk_curve(scores, truth):
    """The mean risk of the accepted masks, for each number of them."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    return np.cumsum(1 - np.asarray(truth)[order]) / np.arange(1, len(truth) + 1)


def _correlation(one, other):
    varies = len(one) > 2 and np.std(one) > 0 and np.std(other) > 0
    return float(np.corrcoef(one, other)[0, 1]) if varies else float("nan")


def _figures_of(columns):
    truth, quality = columns["dice"], columns["quality"]
    found = {
        "pearson": _correlation(truth, quality),
        "spearman": _correlation(rankdata(truth), rankdata(quality)),
        "error": float(np.abs(truth - quality).mean()),
        **{name: area_of_risk(columns[by], truth) for name, by in SCORES.items()},
        "risk_entropy": area_of_risk(-columns["entropy"], truth),
        "risk_random": float(1 - truth.mean()),
    }
    for other in ("entropy", "expected"):
        found[f"less_than_{other}"] = found[f"risk_{other}"] - found["risk"]
    return found


def summary(rows):
    """Figures of some masks that have a predicted quality, each with the ends of its interval."""
    names = ("dice", "quality", "entropy", "expected")
    columns = {name: np.array([row[name] for row in rows], float) for name in names}
    sets = {}
    for number, row in enumerate(rows):
        sets.setdefault(row["dataset"], {}).setdefault(row["image"], []).append(number)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        places = []
        for images in sets.values():
            own = list(images.values())
            places += [place for i in rng.integers(0, len(own), len(own)) for place in own[i]]
        drawn.append(_figures_of({name: column[places] for name, column in columns.items()}))
    found = {
        "masks": len(rows),
        "dice": float(columns["dice"].mean()),
        "predicted": float(columns["quality"].mean()),
        "confident_and_bad": sum(row["dice"] < BAD and row["quality"] >= GOOD for row in rows),
    }
    for name, value in _figures_of(columns).items():
        found[name] = [_number(value), *_interval([one[name] for one in drawn])]
    return found


def _interval(values):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # All may be undefined.
        return [_number(value) for value in np.nanquantile(values, (0.025, 0.975))]


def _number(value):
    return None if np.isnan(value) else float(value)


def threshold_of(rows):
    """The smallest threshold for which enough of the accepted masks are good; None for none."""
    ordered = sorted(rows, key=lambda row: -row["quality"])
    good = np.cumsum([row["dice"] >= GOOD for row in ordered])
    enough = np.flatnonzero(good / np.arange(1, len(ordered) + 1) >= SHARE)
    return ordered[enough[-1]]["quality"] if enough.size else None


def accepted(rows, least):
    """What share of some masks is accepted at a threshold, and how many of these are good."""
    taken = [row for row in rows if least is not None and row["quality"] >= least]
    good_of_all = float(np.mean([row["dice"] >= GOOD for row in rows]))
    return {
        "masks": len(rows),
        "share": len(taken) / len(rows),
        "good": float(np.mean([row["dice"] >= GOOD for row in taken])) if taken else None,
        "oracle": min(1.0, good_of_all / SHARE),
        "good_of_all": good_of_all,
    }


def left_out(masks, factor=1.0):
    """The error of the prediction for each data set of val, with it in the fit and without.

    Args:
        masks: list of dict of `modality`, `target`, `dataset`, `statistics` and `dice`.
        factor: float. Of the penalties.
    """
    statistics = np.array([one["statistics"] for one in masks])
    truth = np.array([one["dice"] for one in masks])
    keys = [(one["modality"], one["target"]) for one in masks]
    datasets = np.array([one["dataset"] for one in masks])

    def predicted(kept):
        numbers = np.flatnonzero(kept)
        fit = fit_coefficients(
            statistics[kept],
            truth[kept],
            [keys[i] for i in numbers],
            list(datasets[kept]),
            penalty=factor,
        )
        values = np.full(len(masks), np.nan)
        for number, key in enumerate(keys):
            if key in fit:
                values[number] = predicted_dice(fit[key], statistics[number])
        return values

    inside = predicted(np.ones(len(masks), bool))
    rows = []
    for dataset in dict.fromkeys(datasets):
        if (datasets == dataset).all():
            continue
        outside = predicted(datasets != dataset)
        for key in dict.fromkeys(keys):
            own = np.array([one == key for one in keys]) & (datasets == dataset)
            if not own.any() or np.isnan(outside[own]).any():
                continue  # No other data set has the target.
            rows.append(
                {
                    **{"modality": key[0], "target": key[1], "dataset": str(dataset)},
                    **{"masks": int(own.sum()), "dice": float(truth[own].mean())},
                    **{"predicted": float(outside[own].mean())},
                    "error": float(np.abs(outside[own] - truth[own]).mean()),
                    "error_inside": float(np.abs(inside[own] - truth[own]).mean()),
                }
            )
    return rows


def figures(found):
    """All that the page shows, from what `trust.py measure` wrote."""
    rows = [row for row in found["rows"] if row["quality"] is not None]
    least = threshold_of([row for row in rows if row["split"] == "val"])
    splits, datasets, taken, modalities = {}, [], {}, []
    for split in SPLITS:
        own = [row for row in rows if row["split"] == split]
        splits[split], taken[split] = summary(own), accepted(own, least)
        for modality, target, dataset in _keys(own, "modality", "target", "dataset"):
            of = {"modality": modality, "target": target, "dataset": dataset}
            group = [row for row in own if of.items() <= row.items()]
            datasets.append({"split": split, **of, **summary(group), **accepted(group, least)})
        for (modality,) in _keys(own, "modality"):
            group = [row for row in own if row["modality"] == modality]
            modalities.append({"split": split, "modality": modality, **accepted(group, least)})
    curves = {}
    for row in found["corrupted"]:
        if row["quality"] is not None:
            curves.setdefault((row["kind"], row["strength"]), []).append(row)
    kept = {name: found[name] for name in ("preset", "machine", "keras", "times")}
    return {
        **kept,
        "threshold": least,
        "splits": splits,
        "accepted": taken,
        "modalities": modalities,
        "datasets": datasets,
        "left_out": left_out(found["statistics"]),
        "penalties": [
            {"factor": factor, "error": _mean_error(left_out(found["statistics"], factor))}
            for factor in PENALTIES
        ],
        "corrupted": [
            {"kind": kind, "strength": strength, "masks": len(own), **_means(own)}
            for (kind, strength), own in curves.items()
        ],
    }


def _mean_error(rows):
    return float(np.mean([row["error"] for row in rows]))


def _keys(rows, *names):
    return dict.fromkeys(tuple(row[name] for name in names) for row in rows)


def _means(rows):
    return {name: float(np.mean([row[name] for row in rows])) for name in ("dice", "quality")}
