"""Write docs/reports/trust.md with its figures and plots, from what `trust.py measure` wrote."""

import json

import numpy as np
from pass_times import times_table
from report_pages import table, write_page
from trust_figures import BAD, GOOD, SHARE, SPLITS, figures, risk_curve

from keras_espmedsam.data import atomic_path

PAGE = """\
# How far the predicted quality can be trusted

Written by `benchmarks/trust.py`; all figures are in [trust.json](trust.json), and
`benchmarks/trust_figures.py` says how each is computed. What the predicted quality is, and how to
use it, is in [Can I trust this mask?](../how-to/trust.md).

`{preset}` predicts the Dice of each mask. The prediction was fitted to the val images. The network
itself has learnt from the training images of the data sets of val and test, so those show it at
home; the unseen ones are of other hospitals, cameras and laboratories, and nothing was fitted to
them. Intervals are 95 %.

## All masks

{splits}

Pearson and Spearman are correlations with the true Dice; over all masks they also see that targets
differ, so look at [each data set](#each-data-set), too. Risk is the area under the risk-coverage
curve: masks are accepted from the best predicted one on, and the risk is the mean of 1 - Dice of
those accepted; smaller is better. The oracle knows the Dice, and chance accepts in any order. The
expected Dice and the mean entropy of the calibrated probabilities need no labels.

| split | less risk than by the expected Dice | less risk than by the mean entropy |
|---|---|---|
{less}

{order}

![Risk and coverage; predicted and true Dice](trust.png)

## What a reader saves

Accepted are masks with a predicted Dice of at least {threshold}: the smallest threshold for which
{share:.0%} of the accepted masks of val have a Dice of at least {good}. A reader looks at the
others only. Where few masks are that good, as of vessels, few or none are accepted. An oracle that
knows the Dice could accept the share in the last column.

{accepted}

{saved}

## Each data set

{datasets}

The absolute error of the prediction, and the risk of several orders of the same masks:

{risks}

## Where it fails

{failures}

The prediction sees the model's own doubt. It cannot see what the model is sure of and wrong about,
such as a polyp of another hospital that is missed while a fold is marked. Fit it again on a few
labelled images of your own place.

## Left out of the fit

Each data set of val whose target another one has, too, is left out of the fit, and predicted then.
Penalties of the regression were chosen by this error: between a hundredth and three times of what
they are it changes by {change} at most. The network has seen training images of the data set all
the same, so this is about the coefficients alone.

{left_out}

## Images of poor quality

Copies of some val images, worse and worse; the figures are means.

{corrupted}

## Time

CPU time of a pass of one image, and how much more it is with the prediction, with the
[scope](scope.md), and with both, as the preset has them: the median of the repeats, the least and
the most. A pass by the recogniser of modalities stands beside it.

{times}

By `benchmarks/pass_times.py` on {timed}. The preset has both. Why the scope alone costs more on
PyTorch than with the quality was not found; it computes the same.

## How

    ESPMEDSAM_DATA=DATA KERAS_BACKEND=tensorflow OMP_NUM_THREADS=1 \\
        python benchmarks/trust.py measure --output runs/trust.json
    python benchmarks/trust.py report --input runs/trust.json --times runs/pass_times.json

{machine}; Keras {keras}. The data sets are those of the [results](results.md).
"""


def written(made):
    """The page, from what trust.json holds."""
    return PAGE.format(
        **{name: made[name] for name in ("preset", "machine", "keras")},
        share=SHARE,
        good=GOOD,
        threshold="none: no threshold does it" if made["threshold"] is None
        else f"{made['threshold']:.3f}",
        splits=_splits(made["splits"]),
        less=_less(made["splits"]),
        order=_order(made["splits"]),
        accepted=_accepted(made),
        saved=_saved(made["accepted"]),
        datasets=_datasets(made["datasets"]),
        risks=_risks(made["datasets"]),
        failures=_failures(made["datasets"]),
        change=f"{_largest_change(made['penalties']):.4f}",
        left_out=_left_out(made["left_out"]),
        corrupted=_corrupted(made["corrupted"]),
        times=times_table(made["times"]),
        timed=" and ".join(dict.fromkeys(one["machine"] for one in made["times"].values())),
    )  # fmt: skip


def _number(value, digits=3):
    return "" if value is None else f"{value:.{digits}f}"


def _with_interval(values, digits=3):
    value, low, high = values
    if value is None:
        return ""
    return f"{value:.{digits}f} [{_number(low, digits)}, {_number(high, digits)}]"


def _splits(splits):
    header = ["split", "masks", "Dice", "predicted", "Pearson", "Spearman", "absolute error",
              "risk", "of an oracle", "of the expected Dice", "of the mean entropy",
              "of chance"]  # fmt: skip
    rows = []
    for split, own in splits.items():
        row = [split, own["masks"], _number(own["dice"]), _number(own["predicted"])]
        row += [_with_interval(own[name]) for name in ("pearson", "spearman", "error", "risk")]
        row += [
            _number(own[f"risk_{name}"][0]) for name in ("oracle", "expected", "entropy", "random")
        ]
        rows.append(row)
    return table(header, rows)


def _less(splits):
    return "\n".join(
        f"| {split} | {_with_interval(own['less_than_expected'])} "
        f"| {_with_interval(own['less_than_entropy'])} |"
        for split, own in splits.items()
    )


def _order(splits):
    """Say whether the prediction orders masks better than the expected Dice."""
    _, low, high = splits["unseen"]["less_than_expected"]
    if low > 0:
        return "The prediction orders the masks of unseen sets better than the expected Dice does."
    verdict = "worse than" if high < 0 else "no better than"
    return (
        f"On unseen sets the prediction orders masks {verdict} the expected Dice does. The fit "
        "starts from that (before calibration) and four other numbers; what it adds is a value "
        "that can be read as a Dice."
    )


def _accepted(made):
    rows = [["all", split, *_of_accepted(one)] for split, one in made["accepted"].items()]
    for one in made["modalities"]:
        if one["split"] != "val":
            rows.append([one["modality"], one["split"], *_of_accepted(one)])
    good = f"of these, Dice of at least {GOOD}"
    header = ["modality", "split", "masks", "accepted", good, "of all masks", "an oracle accepts"]
    return table(header, rows)


def _of_accepted(one):
    shares = (one[name] for name in ("share", "good", "good_of_all", "oracle"))
    return [one["masks"], *("" if value is None else f"{value:.0%}" for value in shares)]


def _saved(accepted):
    said = []
    for split in ("test", "unseen"):
        one = accepted[split]
        if one["good"] is None:
            said.append(f"On {split} nothing is accepted.")
            continue
        verdict = "holds" if one["good"] >= SHARE else "does not hold"
        said.append(
            f"On {split} a reader need not look at {one['share']:.0%} of the masks; "
            f"{one['good']:.1%} of these have a Dice of at least {GOOD}, so what was asked for "
            f"{verdict} there."
        )
    return "\n".join(said)


def _datasets(datasets):
    header = ["data set", "target", "split", "masks", "Dice", "predicted", "Pearson", "Spearman",
              "accepted", f"of these, {GOOD} or more"]  # fmt: skip
    rows = []
    for one in datasets:
        row = [one["dataset"], one["target"], one["split"], one["masks"]]
        row += [_number(one["dice"]), _number(one["predicted"])]
        row += [_with_interval(one[name], 2) for name in ("pearson", "spearman")]
        row += ["" if value is None else f"{value:.0%}" for value in (one["share"], one["good"])]
        rows.append(row)
    return table(header, rows)


def _risks(datasets):
    header = ["data set", "target", "split", "absolute error", "risk", "of an oracle",
              "of the expected Dice", "of the mean entropy", "of chance",
              "less than entropy"]  # fmt: skip
    rows = []
    for one in datasets:
        row = [one["dataset"], one["target"], one["split"]]
        row += [_with_interval(one[name]) for name in ("error", "risk")]
        row += [
            _number(one[f"risk_{name}"][0]) for name in ("oracle", "expected", "entropy", "random")
        ]
        rows.append([*row, _with_interval(one["less_than_entropy"])])
    return table(header, rows)


def _failures(datasets):
    """The data sets of which too much is expected, and those in which order says nothing."""
    away = [one for one in datasets if one["split"] != "val"]
    lines = []
    for one in sorted(away, key=lambda one: one["dice"] - one["predicted"]):
        if one["predicted"] - one["dice"] > 0.05:
            lines.append(
                f"- {one['dataset']} ({one['split']}), {one['target']}: predicted "
                f"{one['predicted']:.2f}, true mean {one['dice']:.2f}; "
                f"{one['confident_and_bad']} of {one['masks']} masks are below {BAD} and predicted "
                f"at {GOOD} or more."
            )
    blind = [
        f"{one['dataset']} ({one['target']})"
        for one in away
        if one["masks"] >= 10 and (one["spearman"][1] or 0) <= 0
    ]
    if blind:
        lines.append(
            f"- The interval of Spearman's correlation holds 0, so within the data set the order "
            f"says nothing: {', '.join(blind)}."
        )
    bad = sum(one["confident_and_bad"] for one in away)
    lines.append(
        f"- Of all {sum(one['masks'] for one in away)} masks of test and unseen, {bad} have a Dice "
        f"below {BAD} and a prediction of {GOOD} or more."
    )
    return "\n".join(lines)


def _largest_change(penalties):
    errors = [one["error"] for one in penalties]
    return max(errors) - min(errors)


def _left_out(rows):
    header = ["data set", "target", "masks", "Dice", "predicted", "absolute error",
              "error with it in the fit"]  # fmt: skip
    values = ("dice", "predicted", "error", "error_inside")
    return table(
        header,
        [
            [one["dataset"], one["target"], one["masks"], *(_number(one[name]) for name in values)]
            for one in rows
        ],
    )


def _corrupted(rows):
    return table(
        ["images", "strength", "masks", "Dice", "predicted"],
        [
            [one["kind"], one["strength"], one["masks"], _number(one["dice"]),
             _number(one["quality"])]
            for one in rows
        ],
    )  # fmt: skip


def draw(rows, path):
    """Draw the risk-coverage curves of each split, and the predicted Dice beside the true one."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    splits = [one for one in SPLITS if one != "val"]
    figure, axes = pyplot.subplots(2, len(splits), figsize=(3.6 * len(splits), 6.4), squeeze=False)
    for column, split in enumerate(splits):
        own = [row for row in rows if row["split"] == split and row["quality"] is not None]
        columns = {
            name: np.array([row[name] for row in own])
            for name in ("dice", "quality", "entropy", "expected")
        }
        coverage = np.arange(1, len(own) + 1) / len(own)
        for label, scores, style in (
            ("predicted quality", columns["quality"], "-"),
            ("expected Dice", columns["expected"], "--"),
            ("mean entropy", -columns["entropy"], ":"),
            ("oracle", columns["dice"], "-."),
        ):
            axes[0, column].plot(
                coverage, risk_curve(scores, columns["dice"]), style, label=label, lw=1.3
            )
        axes[0, column].set(title=split, xlabel="share accepted", ylabel="mean of 1 - Dice")
        for modality in dict.fromkeys(row["modality"] for row in own):
            at = np.array([row["modality"] == modality for row in own])
            axes[1, column].plot(
                columns["quality"][at], columns["dice"][at], ".", ms=3, alpha=0.6, label=modality
            )
        axes[1, column].plot([0, 1], [0, 1], color="0.7", lw=1)
        axes[1, column].set(xlabel="predicted Dice", ylabel="Dice", xlim=(0, 1), ylim=(0, 1))
    for row in axes[:, 0]:
        row.legend(fontsize=6, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=90, format="png")
    pyplot.close(figure)


def write(found, page):
    """Write the page, and beside it a JSON file and the plots.

    Args:
        found: dict, what `trust.py measure` wrote.
        page: path.
    """
    made = figures(found)
    write_page(page, written(json.loads(json.dumps(made))), made)
    with atomic_path(page.with_suffix(".png")) as temporary:
        draw(found["rows"], temporary)
