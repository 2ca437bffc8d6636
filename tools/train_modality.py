"""Train the preset `tic_tiny_modality`: which of six modalities does an image show, if any?

    ESPMEDSAM_DATA=/path/to/data python tools/train_modality.py --output runs/modality
    ESPMEDSAM_DATA=/path/to/data python tools/train_modality.py --output runs/modality --evaluate

The data folder holds an `index2.csv` with a row per image and target: split, modality, target,
dataset, image, mask. Training begins from version 1 of the preset, which knows six data sets. Only
the train split is learnt from; val chooses the weights and the least confidence. A share of each
batch are images that are no medical image, with equal probabilities as their target (outlier
exposure, Hendrycks et al., arXiv 1812.04606). Stopped at any moment, the same command goes on from
the last finished epoch. `--evaluate` prints the confusion matrices and writes report.json.

`--leave-out DATASET ...` trains without some data sets, and `--evaluate` with it names what was
made of all their images: that chose the augmentation.
"""

import argparse
import json
import os
import pathlib

import keras
import numpy as np
import outliers
from modality_batches import STORED, ModalityBatches, read_images, read_rgb

import keras_espmedsam as kem
from keras_espmedsam.data import atomic_path, read_index
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import MODALITIES

BEGIN = "tic_tiny_modality@1"
SIZE = 128
TEST_OF_REFUSAL = ("astronaut.png", "coffee.png", "page.png")
MUST_ACCEPT = 0.995  # Share of val.
# How much of the trained weights may be taken, and the rest of version 1.
MIXES = (0.3, 0.5, 0.7, 0.85, 1.0)
# Images of transfer_test show what no training image does: fetal heads and rows of teeth.
SPLITS = ("val", "test", "unseen", "transfer_test")

# Shares of the modalities, in the order of MODALITIES: first all alike but fundus, which has few
# images; then more of dermoscopy, which val found the hardest.
ALIKE = (0.17, 0.17, 0.17, 0.14, 0.18, 0.17)
HARD_ONES = (0.22, 0.15, 0.16, 0.13, 0.16, 0.18)

# `broken` and `photographs` are shares of the outliers; the rest are synthetic. Phase 1 was stopped
# after four epochs of a schedule of six. Phases 3 and 4 were added because val asked for more.
SMALL = dict(size=96, batch_size=48, broken=0.2, photographs=0.4)
WHOLE = dict(size=SIZE, batch_size=32, broken=0.2, photographs=0.4)
PHASES = (
    dict(name="1", epochs=4, planned=6, steps=50, rate=8e-4, final=2e-4, shares=ALIKE, **SMALL),
    dict(name="2", epochs=2, planned=2, steps=20, rate=3e-4, final=1e-6, shares=ALIKE, **WHOLE),
    dict(
        name="3", epochs=12, planned=12, steps=40, rate=6e-4, final=2e-5, shares=HARD_ONES, **SMALL
    ),
    dict(name="4", epochs=4, planned=4, steps=30, rate=1e-4, final=1e-6, shares=HARD_ONES, **WHOLE),
)


def build_classifier():
    """Version 1 of the preset, to be trained on."""
    return kem.models.TiCImageClassifier.from_preset(BEGIN, dropout=0.1)


class DrawNewImages(keras.callbacks.Callback):
    """Tell the data set which epoch it is, so that a resumed run draws what it would have."""

    def __init__(self, dataset, first):
        super().__init__()
        self.dataset, self.first = dataset, first

    def on_epoch_begin(self, epoch, logs=None):
        self.dataset.epoch = self.first + epoch


@keras.saving.register_keras_serializable(package="keras_espmedsam_examples")
class ImageAccuracy(keras.metrics.Mean):
    """Share of the medical images that are named rightly; outliers do not count."""

    def __init__(self, name="accuracy", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        medical = keras.ops.cast(keras.ops.max(y_true, axis=-1) > 0.5, "float32")
        hit = keras.ops.argmax(y_true, axis=-1) == keras.ops.argmax(y_pred, axis=-1)
        super().update_state(keras.ops.cast(hit, "float32"), sample_weight=medical)


def held_out_outliers(size, seed):
    """(kind, image) pairs: known kinds from other random numbers, new kinds, photographs."""
    rng = np.random.default_rng([seed, 1])
    photographs = outliers.read_photographs(outliers.HELD_OUT_PHOTOGRAPHS)
    found = outliers.synthetic(180, size, rng, photographs)
    found += outliers.synthetic(90, size, rng, kinds=outliers.HELD_OUT)
    for k in range(30):
        photograph = photographs[k % len(photographs)]
        found.append(("photograph", outliers.crop(photograph, size, rng, least=0.3)))
    return found


# === Training ===


def run_phase(classifier, phase, first_epoch, datasets, output, seed):
    """Train one phase, or skip it when it is done; gives the file of its best weights."""
    folder = output / phase["name"]
    folder.mkdir(parents=True, exist_ok=True)
    best, done = folder / "best.weights.h5", folder / "done.json"
    size = phase["size"]
    if done.exists():
        return best
    images, photographs, made, val_images, val_targets = datasets()
    classifier.preprocessor.image_converter.image_size = (size, size)
    train = ModalityBatches(images, photographs, made, phase, seed)
    total = phase["planned"] * phase["steps"]
    warmup = total // 15
    schedule = keras.optimizers.schedules.CosineDecay(
        phase["rate"] * 0.05,
        decay_steps=total - warmup,
        alpha=phase["final"] / phase["rate"],
        warmup_target=phase["rate"],
        warmup_steps=warmup,
    )
    classifier.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=0.05, global_clipnorm=1.0),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=[ImageAccuracy()],
    )
    history = classifier.fit(
        train,
        validation_data=(val_images, val_targets),
        # Batches of one size, for which JAX compiles once.
        validation_batch_size=len(val_images) // 10,
        epochs=phase["epochs"],
        verbose=2,
        callbacks=[
            DrawNewImages(train, first_epoch),
            keras.callbacks.BackupAndRestore(folder / "backup", delete_checkpoint=False),
            keras.callbacks.ModelCheckpoint(
                best, monitor="val_loss", save_best_only=True, save_weights_only=True
            ),
            keras.callbacks.CSVLogger(folder / "log.csv", append=True),
        ],
    )
    done.write_text(json.dumps({"size": size, "epochs": len(history.epoch)}))
    return best


def once(function):
    """A function without arguments whose result is kept, since a finished run needs none."""
    kept = []

    def call():
        if not kept:
            kept.append(function())
        return kept[0]

    return call


def read_datasets(index, seed, without):
    """All that is learnt from, and val with the held-out outliers."""
    images, val = (read_images(index, split, without) for split in ("train", "val"))
    photographs = outliers.read_photographs()
    rng = np.random.default_rng([seed, 0])
    made = [image for _, image in outliers.synthetic(1500, STORED, rng, photographs)]
    others = np.stack([image for _, image in held_out_outliers(STORED, seed)])[::2]
    uniform = np.full((len(others), len(MODALITIES)), 1 / len(MODALITIES))
    targets = np.concatenate([np.eye(len(MODALITIES))[val.labels], uniform]).astype("float32")
    return images, photographs, made, np.concatenate([val.pixels, others]), targets


def train(index, output, seed, without):
    keras.utils.set_random_seed(seed)
    classifier = build_classifier()
    datasets = once(lambda: read_datasets(index, seed, without))
    first_epoch = 0
    for phase in PHASES:
        best = run_phase(classifier, phase, first_epoch, datasets, output, seed)
        # A new model: one that resumed would begin its next `fit` at the same epoch again. It has
        # no state of the optimiser either, which the preset need not hold.
        classifier = build_classifier()
        classifier.load_weights(best)
        first_epoch += phase["epochs"]
    mix_with_first(classifier, *datasets()[-2:], output)
    records = [one for one in read_index(index, ["val"]) if one.dataset not in without]
    sure = confidences(classifier, [read_rgb(record.image) for record in records])
    others = confidences(classifier, [image for _, image in held_out_outliers(STORED, seed)])
    classifier.min_confidence = least_confidence(sure, others)
    classifier.save_to_preset(output / "preset")
    print(f"min_confidence {classifier.min_confidence}: preset in {output / 'preset'}")


def mix_with_first(classifier, images, targets, output):
    """Take the mean of the trained weights and those of version 1 for which val's loss is least.

    Source: Wortsman et al., arXiv 2109.01903.
    """
    first, trained = build_classifier().get_weights(), classifier.get_weights()

    def take(share):
        pairs = zip(first, trained, strict=True)
        classifier.set_weights([(1 - share) * one + share * other for one, other in pairs])

    losses = {}
    for share in MIXES:
        take(share)
        found = np.stack(classifier.classify(list(images))["probabilities"])
        losses[share] = float(-(targets * np.log(np.maximum(found, 1e-7))).sum(axis=-1).mean())
    best = min(losses, key=losses.get)
    take(best)
    print(f"{best} of the trained weights; val_loss by share: {losses}")
    with atomic_path(output / "mix.json") as temporary:
        temporary.write_text(json.dumps({"share": best, "val_loss": losses}) + "\n")


def confidences(classifier, images):
    return np.array(classifier.classify(images)["confidences"])


def least_confidence(val, others):
    """The least confidence that accepts enough of val and refuses as many outliers as that can.

    Of all values that do so equally well, the middle one, rounded down to three digits.
    """
    may_refuse = int(len(val) * (1 - MUST_ACCEPT))
    highest = np.sort(val)[may_refuse]
    lowest = max(others[others < highest], default=0.0)
    middle = np.floor((highest + lowest) / 2 * 1000) / 1000
    return float(middle if middle > lowest else highest)


# === Evaluation ===


def recognised(classifier, records):
    """What is made of each data set: dict of its name to its modality and counts.

    `as` counts the recognised modalities, in the order of MODALITIES, and the refused images last.
    """
    report = {}
    found = classifier.classify([read_rgb(record.image) for record in records])
    for record, name, sure in zip(records, found["class_names"], found["confident"], strict=True):
        entry = report.setdefault(
            record.dataset,
            {"modality": record.modality, "images": 0, "as": [0] * (len(MODALITIES) + 1)},
        )
        entry["images"] += 1
        entry["as"][MODALITIES.index(name) if sure else len(MODALITIES)] += 1
    return report


def right_and_refused(report):
    """The images, and how many of them are right and refused, of what `recognised` gave."""
    counts = np.zeros(3, int)
    for one in report.values():
        right = one["as"][MODALITIES.index(one["modality"])]
        counts += one["images"], right, one["as"][-1]
    return counts.tolist()


def recognised_by_split(classifier, index, splits, datasets=None):
    report = {}
    for split in splits:
        report[split] = recognised(classifier, read_index(index, [split], datasets))
        images, right, refused = right_and_refused(report[split])
        print(f"{split}: {right} of {images} right, {refused} refused", flush=True)
        for name, one in report[split].items():
            print(f"  {name:16}{one['modality']:12}{one['as']}")
    return report


def evaluate(index, output, seed):
    classifier = kem.models.TiCImageClassifier.from_preset(output / "preset")
    report = {
        "backend": keras.config.backend(),
        "modalities": list(MODALITIES),
        "min_confidence": classifier.min_confidence,
        "params": classifier.count_params(),
        "mix": json.loads((output / "mix.json").read_text(encoding="utf-8"))["share"],
        "trained_on": sorted({one.dataset for one in read_index(index, ["train"])}),
        "splits": recognised_by_split(classifier, index, SPLITS),
        "outliers": {},
        "test_of_refusal": {},
    }
    pairs = held_out_outliers(STORED, seed)
    found = classifier.classify([image for _, image in pairs])
    for (kind, _), sure in zip(pairs, found["confident"], strict=True):
        entry = report["outliers"].setdefault(kind, {"images": 0, "refused": 0})
        entry["images"] += 1
        entry["refused"] += not sure
    print({kind: f"{e['refused']}/{e['images']}" for kind, e in report["outliers"].items()})
    for name in TEST_OF_REFUSAL:
        image = outliers.read_photographs({"skimage.data": [name]}, longest=10_000)[0]
        found = classifier.classify(image)
        report["test_of_refusal"][name] = {
            "refused": not found["confident"],
            "recognised": found["class_names"],
            "confidence": round(float(found["confidences"]), 4),
        }
        print(name, report["test_of_refusal"][name])
    print(BEGIN)
    report["before"] = recognised_by_split(build_classifier(), index, SPLITS)
    with atomic_path(output / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n")


def evaluate_left_out(index, output, datasets):
    """What is made of all images of data sets that were left out, and of val; version 1 beside."""
    classifiers = {
        "left out": kem.models.TiCImageClassifier.from_preset(output / "preset"),
        BEGIN: build_classifier(),
    }
    report = {}
    for name, classifier in classifiers.items():
        print(name)
        report[name] = {
            **recognised_by_split(classifier, index, ["train"], datasets),
            **recognised_by_split(classifier, index, ["val"]),
        }
    with atomic_path(output / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default=os.environ.get("ESPMEDSAM_DATA"))
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/modality"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--leave-out", nargs="+", default=[], metavar="DATASET")
    parser.add_argument("--evaluate", action="store_true", help="the preset of a finished run")
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("give --data, or set ESPMEDSAM_DATA, to the folder that holds index2.csv")
    index = pathlib.Path(arguments.data) / "index2.csv"
    if not arguments.evaluate:
        train(index, arguments.output, arguments.seed, arguments.leave_out)
    elif arguments.leave_out:
        evaluate_left_out(index, arguments.output, arguments.leave_out)
    else:
        evaluate(index, arguments.output, arguments.seed)


if __name__ == "__main__":
    main()
