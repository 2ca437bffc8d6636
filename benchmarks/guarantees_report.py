"""Write the page and the figure of `benchmarks/guarantees.py`."""

import numpy as np
from report_pages import table

PAGE = """\
# Calibrated probabilities and guarantees

Written by `benchmarks/guarantees.py` of the probabilities of `{preset}` as the network gives them;
all figures are in [guarantees.json](guarantees.json). The preset has the temperatures, and no
guarantees: those hold for the place whose images they were chosen on. What the words mean, and how
to calibrate a preset on your own images, is in [Calibrate](../how-to/calibrate.md).

## Probabilities

The expected calibration error (ECE, 15 bins) and the Brier score of all pixels, each image
counting the same, at the images' own sizes: as the network gives them, with a temperature for each
target, and with a temperature and a bias. Both are fitted on val.

{calibration}

{worse}

![Of the pixels with a probability, how many are foreground](guarantees.png)

A temperature leaves the masks at threshold 0.5 as they are. A bias repairs more, most of all for
arteries and veins: the loss of training (Dice) makes what is hard to tell too probable. But the
mask at 0.5 becomes another one. Dice at threshold 0.5:

{dice}

So `calibrate` fits a temperature by default, and a bias only on request.

## What is guaranteed holds for images of the same kind

The test images of each target are divided at random into halves, {repeats} times: one chooses the
threshold for a recall of {recall}, the other measures it; images of one video may be in both.
Conformal risk control promises that the
mean over many divisions is at least {recall}; one half alone may lie below, and "halves below"
says how many do. For the others, images are drawn with replacement, so that the true mean is
known: learn then test promises that it is wrong in at most {risk:.0%} of the draws. The interval
is that of Clopper and Pearson, 95 %; "shown" is how often a threshold could be shown to hold at
all.

{splits}

Learn then test is wrong less often than it may be: its bound holds for any distribution, so it
asks for more than these images need. A Dice that the images have little more than on average can
hardly ever be shown.

## And not for others

The thresholds for a recall of {recall} are chosen on val and used on each data set. Test sets come
from the places of val; the unseen ones from other hospitals, cameras and countries. False
discovery is the share of the mask that is background: what the recall costs. Targets with fewer
than {needed} val images are left out ({left_out}).

{places}

{failures} The bound needs images that are exchangeable with those of calibration: drawn from the
same place in the same way, so that nobody could tell which came first. Another camera or another
kind of lesion breaks this, and no theorem says how far. For polyps it is this: on val the model
finds nearly enough at 0.5, so the threshold is little below, and does not bring back the polyps
that it misses entirely elsewhere. Where recall holds all the same, that is luck.

{home}

## What a few images of the new place repair

The threshold is chosen on some images of the data set itself and measured on its others, {repeats}
times: recall, then in brackets the share of the mask that is background.

{own}

{repaired}, and that has a price. From 10 images a recall of 0.9 can be promised
only by thresholds at which these 10 have at least 0.99, since an eleventh could be missed
entirely: much of each mask is then background. More images, or asking for less, give masks that
are of use.{hopeless}

## How

    ESPMEDSAM_DATA=DATA KERAS_BACKEND=tensorflow OMP_NUM_THREADS=1 \\
        python benchmarks/guarantees.py predict PRESET
    python benchmarks/guarantees.py report

{machine}; Keras {keras}, beside other work. The sets are those of the [results](results.md).
"""


HOPELESS = """ On {} not even they do: where a model misses whole objects, no threshold finds
them, and a guarantee makes this visible. Such a place needs training on its own images."""
# The share of the masks that is background, with the threshold that has the least of it.
_USELESS = 0.7


def written(found):
    """The page, from what guarantees.json holds."""
    places = [row for row in found["places"] if row["split"] == "unseen"]
    below = [row for row in places if row["val"]["recall"] < found["levels"]["recall"]]
    failures = "Recall holds on all unseen sets."
    if below:
        names = ", ".join(f"{row['dataset']} ({row['val']['recall']:.2f})" for row in below)
        failures = f"Recall does not hold on {len(below)} of {len(places)} unseen sets: {names}."
    lowest = min(
        (row for row in found["places"] if row["split"] == "test"),
        key=lambda row: row["val"]["recall"],
    )
    home = (
        f"At home the smallest recall is {lowest['val']['recall']:.3f}, of {lowest['dataset']}: "
        "the bound holds on average over draws of the val images, and these are one draw."
    )
    held = {(row["modality"], row["target"]) for row in found["places"]}
    few = {
        (row["modality"], row["target"]): row["val_images"]
        for row in found["calibration"]
        if (row["modality"], row["target"]) not in held
    }
    hopeless = [
        row["dataset"]
        for row in places
        if row["own"] and min(one["false_discovery_rate"] for one in row["own"].values()) > _USELESS
    ]
    return PAGE.format(
        **found["about"],
        recall=found["levels"]["recall"],
        repeats=100,
        risk=0.1,
        needed=9,
        calibration=_calibration(found["calibration"]),
        dice=_dice(found["calibration"]),
        splits=_splits(found["splits"]),
        places=_places(found["places"]),
        failures=failures,
        home=home,
        worse=_worse(found["calibration"]),
        repaired=_repaired(places),
        left_out=", ".join(
            f"{modality} {target}: {count}" for (modality, target), count in few.items()
        )
        or "none",
        own=_own(found["places"]),
        hopeless=HOPELESS.format(", ".join(hopeless)) if hopeless else "",
    )


def _worse(rows):
    """Say where a temperature makes the calibration error larger."""
    of = [
        f"{row['dataset']} ({row['target']})"
        for row in rows
        if row["temperature"]["ece"] > row["none"]["ece"] + 5e-5
    ]
    if not of:
        return "A temperature makes the calibration error smaller on every set."
    return (
        f"A temperature makes the calibration error larger on {len(of)} of {len(rows)}: "
        f"{', '.join(of)}. There the network's own probabilities are nearer."
    )


def _repaired(places):
    """Say whether the thresholds of a place's own images hold there."""
    short = [
        row["dataset"]
        for row in places
        for kind, own in row["own"].items()
        if own["recall"] < float(kind.split()[-1])
    ]
    if not short:
        return "Recall holds again everywhere"
    return f"Recall holds again, but not on {', '.join(dict.fromkeys(short))}"


def draw(stored, path):
    """Draw a reliability diagram of the test images of each target."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from keras_espmedsam.evaluation.fit_calibration import fit_calibration
    from keras_espmedsam.evaluation.probability_quality import probability_quality

    targets = [one for one in stored.targets if len(stored.of(*one, "val"))]
    columns = 4
    rows = -(-len(targets) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(2.6 * columns, 2.6 * rows), sharex=True, sharey=True, squeeze=False
    )
    for axis in axes.flat[len(targets) :]:
        axis.set_axis_off()
    for axis, (modality, target) in zip(axes.flat, targets, strict=False):
        val, test = (stored.of(modality, target, split) for split in ("val", "test"))
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for label, options, style in (
            ("as it is", {}, "o-"),
            ("temperature", fit_calibration(val), "s-"),
            ("temperature and bias", fit_calibration(val, True), "^-"),
        ):
            quality = probability_quality(test, **options)
            axis.plot(
                quality.probability, quality.foreground, style, label=label, markersize=3, lw=1
            )
        axis.set_title(f"{modality}: {target}", fontsize=9)
        axis.set_aspect("equal")
    axes[0, 0].legend(fontsize=6, frameon=False)
    figure.supxlabel("probability", fontsize=9)
    figure.supylabel("share of foreground, test", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _name(row):
    return [_target(row), row["dataset"], row["split"], row["images"]]


def _target(row):
    return f"{row['modality']}: {row['target']}"


def _calibration(rows):
    kinds = ("none", "temperature", "bias")
    titles = ["target", "data set", "split", "images"]
    titles += [
        f"{measure}{extra}" for measure in ("ECE", "Brier") for extra in ("", ", T", ", T, b")
    ]
    body = [
        [*_name(row), *(f"{row[kind][one]:.4f}" for one in ("ece", "brier") for kind in kinds)]
        for row in rows
    ]
    return table(titles, [*body, *_means(rows, kinds)])


def _means(rows, kinds):
    for split in ("test", "unseen"):
        own = [row for row in rows if row["split"] == split]
        means = [
            f"{np.mean([row[kind][one] for row in own]):.4f}"
            for one in ("ece", "brier")
            for kind in kinds
        ]
        yield ["**mean**", "", split, sum(row["images"] for row in own), *means]


def _dice(rows):
    body = []
    for key in dict.fromkeys((row["modality"], row["target"]) for row in rows):
        own = [row for row in rows if (row["modality"], row["target"]) == key]
        own = [row for row in own if row["split"] == "test"]
        images = [row["images"] for row in own]
        means = [
            np.average([row[kind]["dice"] for row in own], weights=images)
            for kind in ("temperature", "bias")
        ]
        options = own[0]["options"]
        body.append([
            f"{key[0]}: {key[1]}", sum(images), *(f"{one:.3f}" for one in means),
            f"{options['temperature']['temperature']:.2f}", f"{options['bias']['temperature']:.2f}",
            f"{options['bias']['bias']:.2f}",
        ])  # fmt: skip
    titles = ["target", "test images", "Dice, T", "Dice, T and b", "T alone", "T with b", "b"]
    return table(titles, body)


def _splits(rows):
    body = []
    for row in rows:
        recall = row["recall"]
        line = [_target(row), row["images"], f"{recall['mean']:.3f} ({recall['low']:.3f} to "
                f"{recall['high']:.3f})", recall["halves_below"]]  # fmt: skip
        for risk in ("false_discovery_rate", "dice"):
            one = row[risk]
            line.append(f"{one['wrong']} ({one['low']:.0%} to {one['high']:.0%}); {one['shown']}")
        body.append(line)
    titles = ["target", "images", "mean recall (95 %)", "halves below", "false discovery ≤ 0.3: "
              "wrong; shown", "Dice ≥ 0.7: wrong; shown"]  # fmt: skip
    return table(titles, body)


def _places(rows):
    titles = ["target", "data set", "split", "images", "recall at 0.5", "recall, guaranteed",
              "false discovery at 0.5", "false discovery, guaranteed"]  # fmt: skip
    body = [
        [
            *_name(row),
            *(
                f"{row[kind][risk]:.3f}"
                for risk in ("recall", "false_discovery_rate")
                for kind in ("half", "val")
            ),
        ]
        for row in rows
    ]
    return table(titles, body)


def _own(rows):
    rows = [row for row in rows if row["split"] == "unseen" and row["own"]]
    kinds = list(max((row["own"] for row in rows), key=len))
    body = []
    for row in rows:
        cells = [row["val"], *(row["own"].get(kind) for kind in kinds)]
        shown = [
            f"{one['recall']:.3f} ({one['false_discovery_rate']:.2f})" if one else ""
            for one in cells
        ]
        body.append([_target(row), row["dataset"], row["images"], *shown])
    return table(["target", "data set", "images", "val, recall 0.9", *kinds], body)
