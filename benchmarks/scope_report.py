"""The report of `benchmarks/scope.py`: the images that are flagged, and what else was tried."""

import json

import numpy as np
from report_pages import table
from scipy.stats import binomtest

from keras_espmedsam.evaluation.fit_scope import FALSE_FLAGS, PENALTY, weights_of
from keras_espmedsam.evaluation.logistic_regression import logistic_regression


def logits(statistics, said, scope):
    """The logits of the scores of `ScopeScore`: an image is in scope up to 0."""
    rows = [scope[name] for name in said]
    return np.array([one[0] + x @ one[1:] for one, x in zip(rows, statistics, strict=True)])


def share(flags):
    """How many of some images are flagged, and the exact binomial interval of 95 %."""
    flags = np.asarray(flags, bool)
    if not flags.size:
        return None
    interval = binomtest(int(flags.sum()), flags.size).proportion_ci(method="exact")
    return {
        "images": int(flags.size),
        "flagged": float(flags.mean()),
        "low": float(interval.low),
        "high": float(interval.high),
    }


# === Scores that know proper images alone, or no photographs ===


def covariance(x, weights, shrinkage=0.1):
    mean = weights @ x
    found = (x - mean).T @ ((x - mean) * weights[:, None])
    size = np.trace(found) / len(found)
    return mean, (1 - shrinkage) * found + shrinkage * size * np.eye(len(found))


def squared_distance(x, mean, matrix):
    d = x - mean
    return np.sum(d * np.linalg.solve(matrix, d.T).T, axis=1)


class Distances:
    """Distances of Mahalanobis, and to the fifth nearest image."""

    def __init__(self, x, of, datasets):
        self.scale = x.std(axis=0) + 1e-6
        x = x / self.scale
        self.own = {
            name: covariance(x[of == name], weights_of(datasets[of == name]))
            for name in np.unique(of)
        }
        self.tied = np.mean([one[1] for one in self.own.values()], axis=0)
        self.all = covariance(x, weights_of(datasets))
        values, vectors = np.linalg.eigh(self.tied)
        self.centre, self.whitening = x.mean(axis=0), vectors / np.sqrt(values)
        self.bank = {name: self._normal(x[of == name]) for name in self.own}

    def _normal(self, x):
        found = (x - self.centre) @ self.whitening
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def scores(self, x, said):
        """dict of each score to its values; the larger, the more unlike."""
        x = x / self.scale
        found = {name: np.zeros(len(x)) for name in ("own", "tied", "relative", "nearest")}
        for name, (mean, matrix) in self.own.items():
            mine = said == name
            rows = x[mine]
            if not len(rows):
                continue
            found["own"][mine] = squared_distance(rows, mean, matrix)
            found["tied"][mine] = squared_distance(rows, mean, self.tied)
            found["relative"][mine] = found["tied"][mine] - squared_distance(rows, *self.all)
            gaps = 2 - 2 * self._normal(rows) @ self.bank[name].T
            found["nearest"][mine] = np.sort(gaps, axis=1)[:, min(4, gaps.shape[1] - 1)]
        return found


def regression(x, of, said, datasets):
    """Logits of a regression for each modality, as a function of statistics and modality."""
    scope = {}
    for name in np.unique(said[of == said]):
        own, other = (said == name) & (of == name), (said == name) & (of != name)
        inputs = np.concatenate([x[own], x[other]]).astype(float)
        labels = np.repeat([0.0, 1.0], [own.sum(), other.sum()])
        weights = np.concatenate([weights_of(datasets[own]), weights_of(datasets[other])])
        offset, factors = logistic_regression(inputs, labels, weights, PENALTY)
        scope[name] = [offset, *factors]
    return lambda x, said: logits(x, said, scope)


SCORES = {
    "own": "Mahalanobis, a covariance for each modality",
    "tied": "Mahalanobis, one for all",
    "relative": "relative Mahalanobis",
    "nearest": "fifth nearest image",
    "crossed": "regression, other modalities",
    "regression": "regression, and other images",
}


def fitted_scores(x, known, train):
    """A function of statistics and modality to the values of all scores, fitted to some rows."""
    of, said, datasets = known["of"], known["said"], known["dataset"]
    own = train & (of == said)
    distances = Distances(x[own], of[own], datasets[own])
    both = {
        name: regression(x[rows], of[rows], said[rows], datasets[rows])
        for name, rows in (("crossed", train & (datasets != "others")), ("regression", train))
    }

    def scores(x, said):
        found = distances.scores(x, said)
        return found | {name: function(x, said) for name, function in both.items()}

    return scores


def flagged(scores, said, proper):
    """Flags of one score, by the threshold of each modality on its proper images."""
    flags = np.zeros(len(scores), bool)
    for name in np.unique(said):
        ordered = np.sort(scores[proper & (said == name)])
        if not len(ordered):
            continue
        threshold = ordered[int(np.ceil((1 - FALSE_FLAGS) * len(ordered))) - 1]
        flags[said == name] = scores[said == name] > threshold
    return flags


def comparison(x, known):
    """What each score flags of crossed val images, and of data sets left out of the fit."""
    of, said, split, datasets = (known[name] for name in ("of", "said", "split", "dataset"))
    train, val = split == "train", (split == "val") & (of == said)
    crossed = (split == "val") & (of != said)
    values = fitted_scores(x, known, train)(x, said)
    found = {
        name: {"crossed": float(flagged(values[name], said, val)[crossed].mean())}
        for name in SCORES
    }
    left = {name: [] for name in SCORES}
    for modality in np.unique(of[train & (of != "")]):
        own = np.unique(datasets[train & (of == modality)])
        for out in own if len(own) > 1 else ():
            rest = datasets != out
            if not (val & rest & (said == modality)).any():
                continue
            mine = (of == modality) & (said == modality) & np.isin(split, ("train", "val"))
            values = fitted_scores(x, known, train & rest)(x[mine], said[mine])
            for name in SCORES:
                flags = flagged(values[name], said[mine], (val & rest)[mine])
                left[name].append(float(flags[~rest[mine]].mean()))
    for name in SCORES:
        found[name]["left_out"] = float(np.mean(left[name]))
        found[name]["left_out_most"] = float(np.max(left[name]))
    return found, len(left["own"])


# === The page ===


def figures(archive, corrupted, scope):
    """All that the page shows."""
    x = archive["statistics"].astype(float)
    rows = json.loads(str(archive["known"]))
    known = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    of, said, split, datasets = (known[name] for name in ("of", "said", "split", "dataset"))
    flags = logits(x, said, scope) > 0
    proper, crossed = of == said, (of != said) & (of != "")
    test = split == "test"
    groups = {
        "val": (split == "val") & proper,
        "test": test & proper,
        "unseen": split == "unseen",
        "other modality": test & crossed,
        "photographs": datasets == "photographs",
        "generated": datasets == "generated",
    }
    each = {}
    for kind in ("val", "test", "unseen", "transfer_test"):
        for name in dict.fromkeys(datasets[(split == kind) & proper]):
            own = (split == kind) & proper & (datasets == name)
            key = "other" if kind == "transfer_test" else kind
            each[f"{key}: {name}, as {said[own][0]}"] = share(flags[own])
    names = list(dict.fromkeys(said))
    pairs = {a: {b: share(flags[test & (of == a) & (said == b)]) for b in names} for a in names}
    compared, left_out = comparison(x, known)
    return {
        **corrupted,
        "groups": {name: share(flags[own]) for name, own in groups.items()},
        "datasets": each,
        "pairs": pairs,
        "scores": compared,
        "left_out": left_out,
    }


def _percent(one):
    return "" if one is None else f"{one['flagged']:.1%}"


def _shares(title, groups):
    rows = [
        [name, one["images"], _percent(one), f"{one['low']:.1%} to {one['high']:.1%}"]
        for name, one in groups.items()
    ]
    return table([title, "number", "flagged", "interval"], rows) + "\n"


def page(made):
    """Lines of the report."""
    yield "# Images of another kind\n"
    yield f"Of `{made['preset']}`, by `benchmarks/scope.py` on {made['machine']}, {made['date']};"
    yield "its docstring says how, and"
    yield "[Is this image of the right kind?](../how-to/trust.md#is-this-image-of-the-right-kind)"
    yield "what it is for. Flagged are images with a `scope_score` above 1. The threshold was set"
    yield "on val. Intervals are exact binomial ones of 95 %, as if images were independent.\n"
    yield _shares("images", made["groups"])
    yield "Photographs are two of scikit-image that the fit has not seen, and its astronaut, coffee"
    yield "and page; generated are mosaics, interference and charts, kinds that it has not seen"
    yield "either. Each is given as each of the six modalities.\n"
    yield "## The modalities given as each other\n"
    yield "Test images, rows, that are given as the modality of the column: the share flagged. On"
    yield "the diagonal are proper images.\n"
    pairs = made["pairs"]
    rows = [[name, *(_percent(row[other]) for other in pairs)] for name, row in pairs.items()]
    yield table(["", *pairs], rows) + "\n"
    yield "## Each data set\n"
    yield "`unseen` are other hospitals than those of the training. `other` are images of the same"
    yield "technique and another part of the body: hc18 shows heads of unborn children, given as"
    yield "ultrasound of the breast; ufba425 shows teeth, given as X-rays of the chest.\n"
    yield _shares("data set", made["datasets"])
    yield "## Other scores\n"
    yield "Shares flagged by scores on the same statistics, with thresholds set alike: val images"
    yield "given as another modality, where more is better; and proper images of a data set that"
    yield f"was left out of the fit, mean and most of {made['left_out']}, where less is better. The"
    yield "weights have seen these, so a new hospital is further away still.\n"
    measures = ("crossed", "left_out", "left_out_most")
    rows = [
        [SCORES[name], *(f"{one[measure]:.1%}" for measure in measures)]
        for name, one in made["scores"].items()
    ]
    yield table(["score", "other modality", "data set left out", "most"], rows) + "\n"
    yield "## Images of poor quality\n"
    yield f"{made['images_of_a_dataset']} test images of each data set, and worse copies of them:"
    yield "the mean Dice and predicted quality of their masks, and the share of images that is out"
    yield "of scope.\n"
    rows = [
        [one["kind"], f"{one['strength']:g}", one["masks"], f"{one['dice']:.3f}"]
        + [f"{one['quality']:.3f}", f"{one['flagged']:.1%}"]
        for one in made["corrupted"]
    ]
    yield table(["images", "strength", "number", "Dice", "predicted", "flagged"], rows) + "\n"
    yield "## Time\n"
    with_it, without = (made["seconds"][name] for name in ("with", "without"))
    yield f"A pass of one image takes {1000 * with_it:.1f} ms with the score and"
    yield f"{1000 * without:.1f} ms without ({with_it / without - 1:+.1%}; lower quartiles of one"
    yield "run, in turn)."
