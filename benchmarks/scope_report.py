"""The report of `benchmarks/scope.py`: the images that are flagged, and what else was tried."""

import json

import numpy as np
from pass_times import times_table
from report_pages import table
from scipy.stats import binomtest
from scope_places import moved_thresholds, places

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
    "regression": "**regression, and other images**",
    "regression_or_relative": "the larger of it and relative Mahalanobis",
    "regression_or_nearest": "the larger of it and the fifth nearest image",
    "energy": "energy of the recogniser",
    "largest_logit": "its largest logit",
    "largest_probability": "its largest probability",
    "said_probability": "its probability of the modality that was said",
    "recognised": "regression on its logits",
    "both": "regression on them and on the statistics",
    "regression_or_said": "the larger of that on the statistics and the probability",
    "verdict": "its verdict, at its own threshold",
}
"""By name: how it is called. From `energy` on they need the recogniser, a second model."""
SECOND_MODEL = list(SCORES)[list(SCORES).index("energy") :]


def recognised_scores(logits, classes, least, said):
    """Scores of the recogniser of modalities alone; the larger, the more unlike.

    Args:
        logits: `(images, classes)`.
        classes: their names.
        least: the confidence below which it refuses an image.
        said: `(images,)`, as what each image is given.
    """
    largest = logits.max(axis=1)
    energy = largest + np.log(np.exp(logits - largest[:, None]).sum(axis=1))
    own = logits[np.arange(len(said)), [list(classes).index(one) for one in said]]
    return {
        "energy": -energy,
        "largest_logit": -largest,
        "largest_probability": energy - largest,
        "said_probability": energy - own,
        "verdict": ((own < largest) | (largest - energy < np.log(least))).astype(float),
    }


def fitted_scores(archive, known, train, val):
    """dict of all scores to their values, fitted to some rows; `val` rows make them comparable."""
    of, said, datasets = (known[name] for name in ("of", "said", "dataset"))
    x, logits = (archive[name].astype(float) for name in ("statistics", "recognised"))
    own = train & (of == said)
    found = Distances(x[own], of[own], datasets[own]).scores(x, said)
    found |= recognised_scores(logits, archive["classes"], archive["least"], said)
    for name, rows, inputs in (
        ("crossed", train & (datasets != "others"), x),
        ("regression", train, x),
        ("recognised", train, logits),
        ("both", train, np.hstack([x, logits])),
    ):
        fit = regression(inputs[rows], of[rows], said[rows], datasets[rows])
        found[name] = fit(inputs, said)
    for name, other in (
        ("regression_or_relative", "relative"),
        ("regression_or_nearest", "nearest"),
        ("regression_or_said", "said_probability"),
    ):
        parts = [comparable(found[one], said, val) for one in ("regression", other)]
        found[name] = np.maximum(*parts)
    return found


def comparable(scores, said, val):
    """Scores from 0, the median of a modality's val images, to 1, where 2 % of them are above."""
    found = np.zeros(len(scores))
    for name in np.unique(said):
        rows = said == name
        if (rows & val).any():
            middle, top = np.quantile(scores[rows & val], (0.5, 1 - FALSE_FLAGS))
            found[rows] = (scores[rows] - middle) / max(top - middle, 1e-9)
    return found


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


def flags_of(values, said, proper):
    """dict of each score to its flags; the recogniser's verdict is one already."""
    return {
        name: one > 0.5 if name == "verdict" else flagged(one, said, proper)
        for name, one in values.items()
    }


def comparison(archive, known, groups):
    """What each score flags of some groups, and of data sets of val that the fit has not seen."""
    of, said, split, datasets = (known[name] for name in ("of", "said", "split", "dataset"))
    train, val = split == "train", (split == "val") & (of == said)
    flags = flags_of(fitted_scores(archive, known, train, val), said, val)
    found = {
        name: {title: float(flags[name][own].mean()) for title, own in groups.items() if own.any()}
        for name in SCORES
    }
    left = {name: [] for name in SCORES}
    for modality in np.unique(of[train & (of != "")]):
        own = np.unique(datasets[train & (of == modality)])
        for out in own if len(own) > 1 else ():
            rest = datasets != out
            if not (val & rest & (said == modality)).any():
                continue
            values = fitted_scores(archive, known, train & rest, val & rest)
            flags = flags_of(values, said, val & rest)
            mine = (of == modality) & (said == modality) & np.isin(split, ("train", "val")) & ~rest
            for name in SCORES:
                left[name].append(float(flags[name][mine].mean()))
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
    compared, left_out = comparison(
        archive,
        known,
        {
            "val": groups["val"],
            "crossed": (split == "val") & crossed,
            "test": groups["test"],
            "unseen": groups["unseen"],
            "test_crossed": groups["other modality"],
            **{name: datasets == name for name in ("photographs", "generated", "hc18", "ufba425")},
        },
    )
    kept = {name: value for name, value in corrupted.items() if name != "seconds"}
    return {
        **kept,
        "groups": {name: share(flags[own]) for name, own in groups.items()},
        "datasets": each,
        "pairs": pairs,
        "places": moved_thresholds(logits(x, said, scope), known),
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


COLUMNS = {
    "val": "val",
    "crossed": "val, other modality",
    "left_out": "left out",
    "left_out_most": "most",
}
SHOWN = {
    "test": "test",
    "unseen": "unseen",
    "test_crossed": "other modality",
    "photographs": "photographs",
    "generated": "generated",
    "hc18": "hc18",
    "ufba425": "ufba425",
}
CONCLUSION = """\
The score in bold is the preset's, here fitted to fewer images. The others on the statistics flag
far more proper images of a data set that they have not seen, and so does the larger of two. The
scores from the energy on need `tic_tiny_modality`, the recogniser of modalities, as a second model.
Its probability of what was said, or a regression on its logits, is a better judge than the
statistics; energy, and the largest logit and probability, do not know what was said. The preset
does not use it: it would have to run for each image, and to be part of every exported model.
Where it runs anyway, with the modality `auto`, its verdict is what refuses an image. It was trained
against photographs and generated images, and its threshold was chosen on kinds of the latter that
are among those here, so these two columns are no test of it.
""".splitlines()


def _compared(scores, columns):
    for name, one in scores.items():
        yield [SCORES[name], *(f"{one[key]:.1%}" if key in one else "" for key in columns)]


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
    yield from places(made["places"])
    yield "## Other scores\n"
    yield "Shares flagged, with thresholds set alike, where 2 % of the val images of a modality are"
    yield "above. The first columns choose: val images that are given as another modality, where"
    yield "more is better, and proper images of a data set that was left out of the fit and of the"
    yield f"threshold, mean and most of {made['left_out']}, where less is better. The weights of"
    yield "both models have seen these, so a new hospital is further away still.\n"
    yield table(["score", *COLUMNS.values()], _compared(made["scores"], COLUMNS)) + "\n"
    yield "The others show what comes of it: proper images of test and of other hospitals, where"
    yield "less is better; and test images given as another modality, photographs, generated"
    yield "images, heads of unborn children and teeth, where more is better.\n"
    yield table(["score", *SHOWN.values()], _compared(made["scores"], SHOWN)) + "\n"
    yield from CONCLUSION
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
    yield "CPU time of a pass of one image by `benchmarks/pass_times.py`, and how much more it is"
    yield "with the predicted quality and the score: median of the repeats, least and most.\n"
    yield times_table(made["times"])
