"""docs/reports/systems.md and its figures, from what `accuracy.py measure` wrote."""

import csv
import json
import pathlib

import numpy as np
from report_pages import table
from scipy import stats

from keras_espmedsam.data import atomic_path

SHIPPED = "nano_long"
# What the paper's recipe is said to beat, and with what.
RECIPE = "nano"
CLAIMS = {
    "shared": "Controllers and queries of each modality beat one for all",
    "no_prompts": "Self-prompts help",
    "labels": "Distillation beats labels alone",
    "labels_long": "Distillation beats labels alone with the teacher's time as well",
}
VERDICTS = {"better": "holds", "worse": "does not: the contrary holds", "undecided": "undecided"}
MEASURES = {"dice": "Dice", "iou": "IoU", "hd95": "HD95"}
DRAWS = 9999
WORST = 10


def load(folder, systems):
    """What has been measured, in the order of the systems and under their titles of today."""
    found = {}
    for name, system in systems.items():
        path = pathlib.Path(folder) / f"{name}.json"
        if path.exists():
            title = f"{system.title} (version 1)" if name == SHIPPED else system.title
            found[name] = {**json.loads(path.read_text(encoding="utf-8")), "title": title}
    return found


def by_dataset(result, split, measure):
    """dict of data set to the measures of its images, which are in one order in all results."""
    sets = {}
    for image in sorted(result["images"], key=lambda image: image["image"]):
        if image["split"] == split:
            sets.setdefault(image["dataset"], []).append(image[measure])
    return {name: np.array(values) for name, values in sorted(sets.items())}


def mean_of_sets(*samples, axis=-1):
    """The mean over data sets of the mean over their images."""
    return np.mean([np.mean(sample, axis=axis) for sample in samples], axis=0)


def interval(samples):
    """Mean over sets and its 95 % bootstrap interval; images are drawn within each set."""
    samples = tuple(samples)
    value = float(mean_of_sets(*samples))
    if all(np.ptp(sample) == 0 for sample in samples):
        return value, value, value
    found = stats.bootstrap(
        samples,
        mean_of_sets,
        n_resamples=DRAWS,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(0),
        batch=1000,
    ).confidence_interval
    return value, float(found.low), float(found.high)


def difference(one, other, split, measure="dice"):
    """Of two systems on the same images: mean over sets of the paired differences, 95 %."""
    one, other = (by_dataset(result, split, measure) for result in (one, other))
    return interval([one[name] - other[name] for name in one])


def _with_interval(found, digits=3):
    value, low, high = found
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def accuracy_table(results, split, measure):
    """One row per system: each data set's mean with its interval, and the mean of the sets."""
    names = list(by_dataset(next(iter(results.values())), split, measure))
    digits = 1 if measure == "hd95" else 3
    rows = []
    for result in results.values():
        sets = by_dataset(result, split, measure)
        cells = [_with_interval(interval([sets[name]]), digits) for name in names]
        mean = _with_interval(interval(sets.values()), digits)
        rows.append([result["title"], *cells, f"**{mean}**"])
    return table(["", *names, "mean of the sets"], rows)


def budget_table(results):
    """What each system is and what it took to train."""
    rows = []
    for result in results.values():
        several = f"{result['networks']} x " if result["networks"] > 1 else ""
        cpu = result["cpu_seconds"]
        rows.append(
            [
                result["title"],
                f"{several}{result['parameters'] / 1e6:.2f} M",
                result.get("gmac", ""),
                result.get("milliseconds", ""),
                "" if cpu is None else f"{cpu / 60:.0f}",
            ]
        )
    return table(["", "parameters", "GMAC", "ms per image", "CPU minutes of training"], rows)


def difference_table(results):
    """Version 1 of the preset minus each other system, and what that says."""
    rows = []
    for name, result in results.items():
        if name != SHIPPED:
            found = _compared(results[SHIPPED], result)
            rows.append([result["title"], *(cell for pair in found for cell in pair)])
    return table(["version 1 against", "test", "", "unseen", ""], rows)


def claim_table(results):
    """The paper's claims, and what holds of them here."""
    rows = []
    for name, claim in CLAIMS.items():
        if name in results:
            found = _compared(results[RECIPE], results[name])
            cells = (f"{VERDICTS[verdict]} ({shown})" for shown, verdict in found)
            rows.append([claim, *cells])
    return table(["claim", "test", "unseen"], rows)


def wheel_table(shipped, folder):
    """What `espmedsam evaluate` wrote into `folder`, a row per backend; empty where nothing did."""
    sets = {split: by_dataset(shipped, split, "dice") for split in ("test", "unseen")}
    measured = {name: values.mean() for one in sets.values() for name, values in one.items()}
    rows = [["above", *(f"{value:.4f}" for value in measured.values()), ""]]
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        found = {name: one["dice"]["mean"] for name, one in report["datasets"].items()}
        apart = max(abs(found[name] - value) for name, value in measured.items())
        cells = (f"{found[name]:.4f}" for name in measured)
        rows.append([report["backend"], *cells, f"{apart:.5f}"])
    return table(["Dice", *measured, "most apart"], rows) if rows[1:] else ""


def mirror_table(shipped, path):
    """What `espmedsam evaluate --mirror --per-image` wrote beside `shipped`; empty without it."""
    if not path.exists():
        return ""
    with path.open(newline="", encoding="utf-8") as file:
        mirrored = [{**row, "dice": float(row["dice"])} for row in csv.DictReader(file)]
    rows = []
    for split in ("test", "unseen"):
        one, other = (by_dataset(each, split, "dice") for each in (shipped, {"images": mirrored}))
        groups = [*((name, [name]) for name in one), (f"**mean of {split}**", list(one))]
        for title, names in groups:
            means = (
                f"{mean_of_sets(*(sets[name] for name in names)):.3f}" for sets in (one, other)
            )
            change = interval([other[name] - one[name] for name in names])
            rows.append([title, *means, _with_interval(change)])
    return table(["Dice", "as above", "with `--mirror`", "difference"], rows)


def _compared(one, other):
    """For test and unseen: the difference, and `"better"`, `"worse"` or `"undecided"`."""
    found = []
    for split in ("test", "unseen"):
        values = difference(one, other, split)
        _, low, high = values
        verdict = "better" if low > 0 else "worse" if high < 0 else "undecided"
        found.append((_with_interval(values), verdict))
    return found


def expected_calibration_error(counts):
    """Mean distance of what was said from what was so, weighted by pixels."""
    number, said, true = np.array(counts)
    held = number > 0
    return float(np.abs(said[held] - true[held]).sum() / number.sum())


def calibration_table(results):
    names = sorted(next(iter(results.values()))["calibration"])
    rows = [
        [
            result["title"],
            *(f"{expected_calibration_error(result['calibration'][name]):.4f}" for name in names),
        ]
        for result in results.values()
    ]
    return table(["", *names], rows)


def worst(result):
    """The images of lowest Dice of each modality and target, test and unseen together."""
    groups = {}
    for image in result["images"]:
        modality, target = image["image"].split("/")[0], image.get("target", "")
        groups.setdefault((modality, target), []).append(image)
    parts = []
    for (modality, target), images in sorted(groups.items()):
        images = sorted(images, key=lambda image: image["dice"])[:WORST]
        rows = [
            [f"`{image['image']}`", image["dice"], image["precision"], image["recall"]]
            for image in images
        ]
        listed = table(["file", "Dice", "precision", "recall"], rows)
        title = modality.capitalize() + (f": {target}" if target else "")
        parts.append(f"### {title}\n\n{listed}")
    return "\n\n".join(parts)


def draw_compute(results, path):
    """Dice against multiply-adds and milliseconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    for axes, key, label in zip(
        figure.subplots(1, 2, sharey=True),
        ("gmac", "milliseconds"),
        ("GMAC per image", "milliseconds per image"),
        strict=True,
    ):
        for name, result in results.items():
            if key not in result:
                continue
            for split, marker in (("test", "o"), ("unseen", "s")):
                value, low, high = interval(by_dataset(result, split, "dice").values())
                axes.errorbar(
                    result[key],
                    value,
                    yerr=[[value - low], [high - value]],
                    marker=marker,
                    color=f"C{list(results).index(name)}",
                    label=result["title"] if split == "test" else None,
                )
        axes.set_xlabel(label)
    figure.axes[0].set_ylabel("mean Dice: round test, square unseen")
    shown = figure.axes[0].get_legend_handles_labels()
    figure.legend(*shown, loc="outside lower center", ncols=2, fontsize="small")
    _save(figure, path)


def draw_calibration(result, path):
    """Share of foreground against the probability that was given."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7")
    for dataset, counts in sorted(result["calibration"].items()):
        number, said, true = np.array(counts)
        held = number > 0
        axes.plot(said[held] / number[held], true[held] / number[held], ".-", label=dataset)
    axes.set(xlabel="probability given", ylabel="share of foreground", title=result["title"])
    axes.legend(fontsize="small")
    _save(figure, path)


def draw_patches(path):
    """The patches that prompt the decoder, on images that may be shown (scikit-image's)."""
    import keras
    from matplotlib.figure import Figure
    from skimage import data
    from skimage.transform import resize

    import keras_espmedsam as kem
    from keras_espmedsam.inference.image_segmentation import sigmoid

    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset("espmedsam_nano_256@1")
    cells = np.repeat(data.cell()[..., None], 3, axis=-1)
    images = {"fundus": data.retina(), "microscopy": cells}
    figure = Figure(figsize=(9, 6), layout="constrained")
    for row, (modality, image) in zip(figure.subplots(2, 3), images.items(), strict=True):
        small = (255 * resize(image, (256, 256), anti_aliasing=True)).astype("uint8")
        index = segmenter.modalities.index(modality)
        inputs = {"images": small[None], "modalities": np.array([index], "int32")}
        outputs = keras.Model.predict_on_batch(segmenter, segmenter.prepare_batch(inputs))
        for axes, (title, shown) in zip(
            row,
            (
                (f"{modality}, scikit-image", small),
                ("patch probabilities", sigmoid(outputs["patches"][0, ..., 0])),
                ("mask probabilities", sigmoid(outputs["masks"][0, ..., 0])),
            ),
            strict=True,
        ):
            axes.imshow(shown, vmin=0, vmax=255 if shown.ndim == 3 else 1)
            axes.set_title(title)
            axes.axis("off")
    _save(figure, path)


def _save(figure, path):
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90)


DOCUMENT = """\
# Systems

What each part of `espmedsam_nano_256@1` is worth: the preset beside its variants, six specialists
and a U-Net, all trained on the data of version 1, one set of each modality. How well the newest
version does, on all sets: [results](results.md). Written by

    ESPMEDSAM_DATA=DATA KERAS_BACKEND=torch python benchmarks/accuracy.py train
    ESPMEDSAM_DATA=DATA KERAS_BACKEND=torch python benchmarks/accuracy.py measure
    KERAS_BACKEND=torch python benchmarks/accuracy.py time
    python benchmarks/accuracy.py report

from [the measures of every image](results); [learning curves](results/curves). {machine}; keras
{keras}. One seed each: the intervals are over images, not over trainings.

Test holds other images of the sets that were trained on; unseen holds sets of another hospital or
camera. Both are read by `measure` alone; weights are chosen on val. Dice, IoU and HD95 (pixels) are
taken per image at its own size, threshold 0.5. Intervals are 95 %, by 9,999 bootstrap draws of the
images within each set. A set counts alike however few its images: etis_larib's 11 are a third of
the unseen mean.

## Systems

{budget}

Minutes are of the commands below, on one core; milliseconds on all. "Labels only" is the teacher of
the distilled systems and where "{longer}" starts: its minutes come on top of
theirs. All systems but the preset have at most 90 minutes, the teacher's apart.

{systems}

## Dice

Test:

{dice_test}

Unseen:

{dice_unseen}

## The preset against the others

Mean over the sets of the paired differences of Dice, image by image; "better" and "worse" where the
interval does not hold 0.

{differences}

## The paper's claims

Of the recipe in the paper's phases, difference of mean Dice in brackets:

{claims}

## IoU

Test:

{iou_test}

Unseen:

{iou_unseen}

## HD95

Test:

{hd95_test}

Unseen:

{hd95_unseen}

## The same from the wheel

In new environments with the wheel alone, version 1 on each backend; the measures above are
kept to four digits.

    KERAS_BACKEND=BACKEND espmedsam evaluate --preset espmedsam_nano_256@1 --data INDEX.csv \\
        --split test --split unseen --output docs/reports/results/wheel/BACKEND.json

{wheel}

## Averaged with the mirrored image

`--mirror` of `espmedsam segment` and `evaluate` takes twice the time:

    KERAS_BACKEND=torch espmedsam evaluate --mirror --preset espmedsam_nano_256@1 \\
        --data INDEX.csv --split test --split unseen --per-image docs/reports/results/mirrored.csv

{mirror}

## Compute

![Dice against compute](results/compute.png)

## Calibration

Expected calibration error over all pixels of a set ({bins} bins):

{calibration}

![Reliability](results/calibration.png)

## The patches that prompt the decoder

![Patches](results/patches.png)

## The preset's worst images

{worst}
"""


def write(docs, folder, systems):
    """Write systems.md into `docs` and the figures into `folder`."""
    results = load(folder, systems)
    if SHIPPED not in results:
        raise SystemExit(f"{SHIPPED} is not measured yet: python benchmarks/accuracy.py measure")
    shipped = results[SHIPPED]
    draw_compute(results, folder / "compute.png")
    draw_calibration(shipped, folder / "calibration.png")
    draw_patches(folder / "patches.png")
    commands = "\n\n".join(
        f"{result['title'].capitalize()}:\n\n"
        + "\n".join(f"    {command}" for command in result["commands"])
        for result in results.values()
    )
    tables = {
        f"{measure}_{split}": accuracy_table(results, split, measure)
        for measure in MEASURES
        for split in ("test", "unseen")
    }
    text = DOCUMENT.format(
        machine=shipped["machine"],
        keras=shipped["keras"],
        budget=budget_table(results),
        longer=systems["labels_long"].title,
        systems=commands,
        differences=difference_table(results),
        claims=claim_table(results),
        calibration=calibration_table(results),
        bins=len(next(iter(shipped["calibration"].values()))[0]),
        wheel=wheel_table(shipped, folder / "wheel"),
        mirror=mirror_table(shipped, folder / "mirrored.csv"),
        worst=worst(shipped),
        **tables,
    )
    with atomic_path(docs / "systems.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
