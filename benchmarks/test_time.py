"""What test-time options gain and cost: mirrored images, other sizes, BatchNorm of the new place.

    ESPMEDSAM_DATA=DATA python benchmarks/test_time.py measure --split val --output runs/val.json
    python benchmarks/test_time.py report runs/*.json --page docs/reports/test_time.md

`measure` segments the images of some splits of index2.csv once with each option of `segment`, and
once with each share of the place's own BatchNorm statistics: those that the network sees in the
images of that data set, without their labels, mixed with those of training (AdaBN, arXiv
1603.04779; mixing them, arXiv 2006.16971). Masks are made as by default: at a threshold of 0.5, and
with the preset's post-processing. It also takes the time of a call with each option, in turn. What
is measured is kept after every data set: repeat the command to resume it.

`report` writes the mean change of the Dice, with intervals of 95 % paired by image, by modality.
`--label` names what is measured in the tables in place of its split, such as data sets that a
preset was not trained on.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform

import numpy as np
from interleaved import medians
from preset_accuracy import INDEX, records_of, some_of_each
from preset_statistics import Means
from report_pages import table, write_page

from keras_espmedsam.data import atomic_path
from keras_espmedsam.inference.image_segmentation import SegmentsImages

PRESET = "espmedsam_nano_256"
PLAIN = "plain"
THREE = (0.75, 1, 1.25)
OPTIONS = {
    PLAIN: {},
    "`mirror`": {"mirror": True},
    "`scales=1.25`": {"scales": 1.25},
    "`scales=(1, 1.25)`": {"scales": (1, 1.25)},
    "`scales=(0.75, 1, 1.25)`": {"scales": THREE},
    "`scales=(0.75, 1, 1.25)`, `mirror`": {"scales": THREE, "mirror": True},
}
SHARES = {"BatchNorm, a quarter": 0.25, "BatchNorm, all": 1.0}
STATISTICS_IMAGES, STATISTICS_BATCH = 32, 4
REPEATS = 9
DECISION = """\
**Decided**, on validation images and data sets left out of training: no option is a default, since
each gains little for its time. `mirror` and `scales` are options of `segment`, `evaluate` and the
commands. A larger size alone is not worth its time. BatchNorm statistics are no option: in a
network that shares them among modalities, those of one place make its masks worse. Test and unseen
images were measured once, after that.
"""


class Remembering(SegmentsImages):
    """A segmenter that runs no pass twice for an image, whatever the options.

    Args:
        segmenter: the segmenter whose passes are run.
    """

    takes_any_size = True

    def __init__(self, segmenter):
        self._segmenter = segmenter
        self.modalities, self.target_set = segmenter.modalities, segmenter.target_set
        self.image_converter = segmenter.image_converter
        self.postprocessing = segmenter.postprocessing
        self.probability_calibration = segmenter.probability_calibration
        self.passes = {}

    def predict_probabilities(self, images, indices):
        key = images.tobytes(), tuple(indices)
        if key not in self.passes:
            self.passes[key] = self._segmenter.predict_probabilities(images, indices)
        return self.passes[key]


@contextlib.contextmanager
def own_statistics(segmenter, images, modality, share):
    """Within this context, BatchNorm has a share of the statistics of some images.

    Args:
        segmenter: the segmenter; its weights are the same afterwards.
        images: list of uint8 images.
        modality: str.
        share: float from 0 (the statistics of training) to 1 (those of the images).
    """
    import keras

    from keras_espmedsam.models.model_layers import model_layers

    norms = [
        layer
        for layer in model_layers(segmenter)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    kept = [(one, one.momentum, one.trainable, _statistics(one)) for one in norms]
    converter = segmenter.image_converter.for_modality(modality)
    placed = [converter.convert(converter.read_brightness(image)) for image in images]
    size = min(STATISTICS_BATCH, len(placed))
    number = segmenter.modalities.index(modality)
    try:
        for count in range(len(placed) // size):
            for one in norms:
                one.trainable = True
                one.momentum = count / (count + 1)  # So the result is the mean over the batches.
            batch = np.stack(placed[count * size : (count + 1) * size])
            segmenter(segmenter.model_inputs(batch, np.full(size, number, "int32")), training=True)
        for one, _, _, before in kept:
            _assign(
                one,
                [
                    share * new + (1 - share) * old
                    for new, old in zip(_statistics(one), before, strict=True)
                ],
            )
            one.trainable = False
        yield
    finally:
        for one, momentum, trainable, before in kept:
            one.momentum, one.trainable = momentum, trainable
            _assign(one, before)


def _statistics(norm):
    import keras

    both = norm.moving_mean, norm.moving_variance
    return [np.array(keras.ops.convert_to_numpy(one)) for one in both]


def _assign(norm, values):
    norm.moving_mean.assign(values[0])
    norm.moving_variance.assign(values[1])


def scores(result, labels):
    """The Dice of each labelled target of one image."""
    from keras_espmedsam.evaluation import dice

    masks = result["masks"].reshape(*result["masks"].shape[:2], -1)
    found = {}
    for target, pixels in labels.items():
        number = result["targets"].index(target) if target in result["targets"] else 0
        found[target] = float(dice(pixels.mask != 0, masks[..., number]))
    return found


def rows_of_a_set(segmenter, records, label):
    """Measure the images of one data set: a row for each image and target."""
    from keras_espmedsam.data.images import MAX_PIXELS
    from keras_espmedsam.data.samples import target_images
    from keras_espmedsam.imaging.intensity import AUTO

    samples = [
        (record, image.array, labels)
        for record in records
        for image, labels in target_images(record, MAX_PIXELS, AUTO, False)
    ]
    found = [{} for _ in samples]
    remembering = Remembering(segmenter)
    for (record, image, labels), own in zip(samples, found, strict=True):
        remembering.passes.clear()
        for name, options in OPTIONS.items():
            own[name] = scores(remembering.segment(image, record.modality, **options), labels)
    modality = records[0].modality
    step = -(-len(samples) // STATISTICS_IMAGES)
    seen = [image for _, image, _ in samples[::step]]
    for name, share in SHARES.items():
        with own_statistics(segmenter, seen, modality, share):
            for (_, image, labels), own in zip(samples, found, strict=True):
                own[name] = scores(Remembering(segmenter).segment(image, modality), labels)
    return [
        {
            **{"where": label, "modality": modality, "dataset": record.dataset, "target": target},
            "image": pathlib.Path(record.image).name,
            "dice": {name: round(one[target], 4) for name, one in own.items()},
        }
        for (record, _, labels), own in zip(samples, found, strict=True)
        for target in labels
    ]


def seconds(segmenter, modality):
    """Median seconds of a call with each option, on an image of the model's size."""
    size = segmenter.image_converter.image_size
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype="uint8")
    calls = [
        lambda options=options: segmenter.segment(image, modality, **options)
        for options in OPTIONS.values()
    ]
    for call in calls:
        call()  # Compiles.
    return dict(zip(OPTIONS, medians(calls, REPEATS), strict=True))


def measure(options, index):
    """Measure a preset, and write the rows and times."""
    import keras

    from keras_espmedsam.hub.built_in_presets import versioned_name
    from keras_espmedsam.models import ESPMedSAMImageSegmenter

    segmenter = ESPMedSAMImageSegmenter.from_preset(options.preset)
    if options.output.is_file():
        found = json.loads(options.output.read_text(encoding="utf-8"))
    else:
        found = {
            "preset": options.name or f"`{versioned_name(options.preset)}`",
            "keras": f"{keras.__version__}, {keras.backend.backend()}",
            "machine": f"{platform.machine()}, one of {os.cpu_count()} CPU cores",
            "images_of_a_set": options.images,
            "seconds": seconds(segmenter, "colonoscopy"),
            "rows": [],
        }
    done = {(row["where"], row["dataset"]) for row in found["rows"]}
    for split in options.split:
        sets = {}
        for record in records_of(index, segmenter, [split]):
            if not options.dataset or record.dataset in options.dataset:
                sets.setdefault(record.dataset, []).append(record)
        label = options.label or split
        for dataset, records in sets.items():
            if (label, dataset) in done:
                continue
            found["rows"] += rows_of_a_set(segmenter, some_of_each(records, options.images), label)
            options.output.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(options.output) as temporary:
                temporary.write_text(json.dumps(found) + "\n", encoding="utf-8")
            print(f"{label}: {dataset}", flush=True)


def figures(results):
    """All that the page shows: of each label, the Dice and what each option adds."""
    made = {}
    for result in results:
        for label in dict.fromkeys(row["where"] for row in result["rows"]):
            rows = [row for row in result["rows"] if row["where"] == label]
            plain = _of_option(rows, PLAIN)
            names = [name for name in rows[0]["dice"] if name != PLAIN]
            changes = {name: Means(_of_option(rows, name), other=plain) for name in names}
            means = Means(plain)
            made[label] = {
                "preset": result["preset"],
                "images_of_a_set": result["images_of_a_set"],
                "images": len({(row["dataset"], row["image"]) for row in rows}),
                "datasets": sorted({row["dataset"] for row in rows}),
                "modalities": {
                    modality: {
                        "dice": means.of_modality(modality)[0],
                        **{name: one.of_modality(modality) for name, one in changes.items()},
                    }
                    for modality in means.modalities()
                },
                "all": {
                    "dice": means.of_all()[0],
                    **{name: one.of_all() for name, one in changes.items()},
                },
            }
    first = results[0]
    seconds = first["seconds"]
    costs = {name: value / seconds[PLAIN] for name, value in seconds.items()}
    return {"keras": first["keras"], "machine": first["machine"], "costs": costs, "labels": made}


def _of_option(rows, name):
    return [{**row, "dice": row["dice"][name]} for row in rows]


def _change(value):
    mean, low, high = value
    text = f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def page(made):
    """Lines of the report."""
    yield "# Test-time options\n"
    yield "Mean Dice, and what each option adds to it, with 95 % intervals paired by image; bold"
    yield "where the interval leaves zero out. A modality's mean is over its targets and data sets."
    yield f"On {made['machine']} (Keras {made['keras']}), by\n"
    yield "    export ESPMEDSAM_DATA=DATA"
    yield "    python benchmarks/test_time.py measure --split SPLIT --output FILE"
    yield "    python benchmarks/test_time.py report FILES --page docs/reports/test_time.md\n"
    yield DECISION
    yield "The last columns mix the BatchNorm statistics of training with those of the data set's"
    yield "own images ([AdaBN](https://arxiv.org/abs/1603.04779)), which need no labels.\n"
    for label, own in made["labels"].items():
        names = [name for name in own["all"] if name != "dice"]
        yield f"## {label[0].upper()}{label[1:]}\n"
        most = own["images_of_a_set"]
        yield f"{own['images']} images, at most {most} of each data set, evenly spread;"
        yield f"by {own['preset']}. Data sets: {', '.join(own['datasets'])}.\n"
        rows = [
            [modality, f"{row['dice']:.3f}", *(_change(row[name]) for name in names)]
            for modality, row in [*own["modalities"].items(), ("**mean**", own["all"])]
        ]
        yield from table(["modality", "Dice", *names], rows).splitlines()
        yield ""
    yield "## Time\n"
    yield "Of a call of `segment` with one image of the model's size, as a multiple of that without"
    yield "options; medians of one run, in turn.\n"
    rows = [[name, f"{ratio:.1f}"] for name, ratio in made["costs"].items()]
    yield from table(["option", "time"], rows).splitlines()


def write_report(results, path):
    made = figures(results)
    write_page(path, "\n".join(page(made)) + "\n", made)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="what", required=True)
    one = commands.add_parser("measure", help="measure one preset")
    one.add_argument("--preset", default=PRESET)
    one.add_argument("--name", help="of the preset in the report")
    one.add_argument("--split", action="append", required=True)
    one.add_argument("--dataset", action="append", help="only this one; may be repeated")
    one.add_argument("--images", type=int, default=40, help="the most of each data set")
    one.add_argument("--label", help="what is measured, in place of the split's name")
    one.add_argument("--output", type=pathlib.Path, required=True)
    two = commands.add_parser("report", help="write the page")
    two.add_argument("files", nargs="+", type=pathlib.Path)
    two.add_argument("--page", type=pathlib.Path, required=True)
    options = parser.parse_args()
    if options.what == "report":
        results = [json.loads(path.read_text(encoding="utf-8")) for path in options.files]
        write_report(results, options.page)
        return
    index = pathlib.Path(os.environ.get("ESPMEDSAM_DATA", "")) / INDEX
    if not index.is_file():
        parser.error(f"set ESPMEDSAM_DATA to the folder that holds {INDEX}.")
    measure(options, index)


if __name__ == "__main__":
    main()
