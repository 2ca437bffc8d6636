"""Train the preset `tic_tiny_modality`: which of six modalities does an image show, if any?

    ESPMEDSAM_DATA=/path/to/data python tools/train_modality.py --output runs/modality
    ESPMEDSAM_DATA=/path/to/data python tools/train_modality.py --output runs/modality --evaluate

The data folder holds an `index.csv` with the columns split, modality, dataset, image, mask. Only
the train split is learnt from; val chooses the weights and the least confidence. A share of each
batch are images that are no medical image, with equal probabilities as their target (outlier
exposure, Hendrycks et al., arXiv 1812.04606). The phases go from small images to the preset's
size, which one set of weights allows. Stopped at any moment, the same command goes on from the
last finished epoch. `--evaluate` prints the confusion matrices and writes report.json.
"""

import argparse
import io
import json
import os
import pathlib

import keras
import numpy as np
import outliers
from PIL import Image

import keras_espmedsam as kem
from keras_espmedsam.data import atomic_path, read_image, read_index
from keras_espmedsam.imaging.pixels import to_rgb
from keras_espmedsam.imaging.placement import resize
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import MODALITIES
from keras_espmedsam.training import Augmentation

SIZE = 128
STORED = 160  # Side of the images that are kept in memory and cropped from.
OUTLIERS_PER_BATCH = 0.3
TEST_OF_REFUSAL = ("astronaut.png", "coffee.png", "page.png")
MUST_ACCEPT = 0.995  # Share of val.

# Shares of the modalities, in the order of MODALITIES. Fundus has 16 images to train on; they are
# not shown more often than this.
EQUAL = (0.18, 0.18, 0.18, 0.11, 0.18, 0.17)
HARD_ONES = (0.20, 0.14, 0.16, 0.12, 0.20, 0.18)

COMMON = dict(scale=(0.75, 1.7), shift=0.15, stretch=0.3, brightness=0.35, contrast=0.35)
AUGMENT = {
    "dermoscopy": Augmentation(vertical_flip=0.5, right_angles=True, saturation=0.4, **COMMON),
    "xray": Augmentation(rotation=12, **COMMON),
    "ultrasound": Augmentation(rotation=12, **COMMON),
    "fundus": Augmentation(vertical_flip=0.5, rotation=45, saturation=0.4, **COMMON),
    "microscopy": Augmentation(
        vertical_flip=0.5, right_angles=True, saturation=0.6, **{**COMMON, "scale": (0.8, 3)}
    ),
    "colonoscopy": Augmentation(vertical_flip=0.5, right_angles=True, saturation=0.4, **COMMON),
}
OTHER = Augmentation(vertical_flip=0.3, rotation=20, saturation=0.5, **COMMON)

# `broken` and `photographs` are shares of the outliers; the rest are synthetic. The last two phases
# were added, and what they show changed, because val asked for more training.
FIRST = dict(shares=EQUAL, broken=0.25, photographs=0.4)
LATER = dict(shares=HARD_ONES, broken=0.2, photographs=0.35)
PHASES = (
    dict(name="1", size=64, batch_size=64, epochs=5, steps=80, rate=2e-3, final=8e-4, **FIRST),
    dict(name="2", size=SIZE, batch_size=32, epochs=4, steps=65, rate=8e-4, final=1e-6, **FIRST),
    dict(name="3", size=96, batch_size=48, epochs=5, steps=80, rate=1.2e-3, final=5e-4, **LATER),
    dict(name="4", size=SIZE, batch_size=48, epochs=3, steps=60, rate=5e-4, final=1e-6, **LATER),
)


def build_classifier():
    """The configuration `tic_tiny_modality` (ours), randomly initialised."""
    backbone = kem.models.TiCBackbone(
        hidden_dims=(24, 48, 96, 160),
        depths=(1, 1, 4, 2),
        num_heads=(1, 1, 2, 4),
        kernel_size=5,
        shift_size=5,
        pool_size=4,
    )
    converter = kem.models.TiCImageConverter(image_size=(SIZE, SIZE))
    preprocessor = kem.models.TiCImageClassifierPreprocessor(converter)
    return kem.models.TiCImageClassifier(
        backbone, class_names=MODALITIES, preprocessor=preprocessor, dropout=0.1
    )


# === Data ===


def read_rgb(path):
    """An image as uint8 RGB."""
    return np.round(to_rgb(read_image(path).array) * 255).astype("uint8")


def stretched(image, size):
    values = resize(image.astype("float32"), size, size)
    return np.clip(np.round(values), 0, 255).astype("uint8")


def disturb(image, rng, grey=0.0):
    """What other cameras, programs and screens do to an image: borders, values, compression."""
    size = image.shape[0]
    if rng.random() < 0.15:
        # A frame or bars, black, white or of a random grey.
        level = (0, 255, int(rng.integers(256)))[rng.integers(3)]
        margins = (rng.uniform(0, 0.22, 4) * (rng.random(4) < 0.6) * size).astype(int)
        top, left, bottom, right = margins
        inner = stretched(image, size)[top : size - bottom, left : size - right]
        if rng.random() < 0.5:
            inner = np.asarray(Image.fromarray(image).resize(inner.shape[1::-1]))
        image = np.full_like(image, level)
        image[top : size - bottom, left : size - right] = inner
    values = image.astype("float32") / 255
    if rng.random() < 0.5:
        values = values ** np.exp(rng.uniform(-0.5, 0.5))
    if rng.random() < 0.4:
        values = values * rng.uniform(0.85, 1.12, 3)
    if rng.random() < grey:
        values = np.repeat(values.mean(axis=-1, keepdims=True), 3, axis=-1)
    if rng.random() < 0.15:
        values = values + rng.normal(size=values.shape[:2] + (1,)) * rng.uniform(0, 0.06)
    image = Image.fromarray((np.clip(values, 0, 1) * 255).astype("uint8"))
    if rng.random() < 0.25:
        side = int(size * rng.uniform(0.3, 0.9))
        image = image.resize((side, side), Image.Resampling.BILINEAR)
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    if rng.random() < 0.25:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(20, 90)))
        image = Image.open(file)
    return np.asarray(image)


class ModalityBatches(keras.utils.PyDataset):
    """Batches of augmented training images and outliers, drawn by seed, `epoch` and number."""

    def __init__(self, images, labels, photographs, made, phase, seed):
        super().__init__(workers=1)
        self.images, self.labels = images, labels
        self.photographs, self.made = photographs, made
        self.size, self.steps = phase["size"], phase["steps"]
        self.batch_size, self.seed, self.epoch = phase["batch_size"], seed, 0
        self.members = [np.flatnonzero(labels == k) for k in range(len(MODALITIES))]
        self.shares, self.broken = phase["shares"], phase["broken"]
        self.photographed = phase["photographs"]

    @property
    def num_batches(self):
        return self.steps

    def __getitem__(self, index):
        rng = np.random.default_rng([self.seed, self.epoch, index])
        others = round(self.batch_size * OUTLIERS_PER_BATCH)
        images, targets = [], []
        for k in range(self.batch_size):
            if k < others:
                images.append(self.outlier(rng))
                targets.append(np.full(len(MODALITIES), 1 / len(MODALITIES)))
            else:
                image, label = self.image(rng)
                name = MODALITIES[label]
                grey = {"microscopy": 0.3, "dermoscopy": 0.03, "colonoscopy": 0.03}.get(name, 0.03)
                images.append(self.ready(image, AUGMENT[name], rng, grey))
                targets.append(np.eye(len(MODALITIES))[label])
        return np.stack(images), np.stack(targets).astype("float32")

    def image(self, rng):
        label = rng.choice(len(MODALITIES), p=self.shares)
        return self.images[rng.choice(self.members[label])], label

    def outlier(self, rng):
        kind, image = rng.random(), None
        if kind < self.broken:
            image, label = self.image(rng)
            image = outliers.broken(image, MODALITIES[label], rng)
        if image is None and kind < self.broken + self.photographed:
            photograph = self.photographs[rng.integers(len(self.photographs))]
            image = outliers.crop(photograph, STORED, rng, least=0.2)
        if image is None:
            image = self.made[rng.integers(len(self.made))]
        return self.ready(image, OTHER, rng, grey=0.2)

    def ready(self, image, augmentation, rng, grey):
        image, _ = augmentation(image, np.zeros(image.shape[:2], bool), rng)
        image = Image.fromarray(image).resize((self.size, self.size), Image.Resampling.BILINEAR)
        return disturb(np.asarray(image), rng, grey)


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


def read_split(index, split, size):
    records = read_index(index, [split])
    images = np.stack([stretched(read_rgb(record.image), size) for record in records])
    return images, np.array([MODALITIES.index(record.modality) for record in records])


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
    images, labels, photographs, made, val_images, val_targets = datasets()
    classifier.preprocessor.image_converter.image_size = (size, size)
    train = ModalityBatches(images, labels, photographs, made, phase, seed)
    total = phase["epochs"] * phase["steps"]
    schedule = keras.optimizers.schedules.CosineDecay(
        phase["rate"] * 0.05,
        decay_steps=total - 50,
        alpha=phase["final"] / phase["rate"],
        warmup_target=phase["rate"],
        warmup_steps=50,
    )
    classifier.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=0.05, global_clipnorm=1.0),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=[ImageAccuracy()],
    )
    history = classifier.fit(
        train,
        validation_data=(val_images, val_targets),
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


def read_datasets(index, seed):
    """All that is learnt from, and val with the held-out outliers."""
    images, labels = read_split(index, "train", STORED)
    photographs = outliers.read_photographs()
    rng = np.random.default_rng([seed, 0])
    made = [image for _, image in outliers.synthetic(1500, STORED, rng, photographs)]
    val_images, val_labels = read_split(index, "val", STORED)
    others = np.stack([image for _, image in held_out_outliers(STORED, seed)])[::2]
    uniform = np.full((len(others), len(MODALITIES)), 1 / len(MODALITIES))
    targets = np.concatenate([np.eye(len(MODALITIES))[val_labels], uniform]).astype("float32")
    return images, labels, photographs, made, np.concatenate([val_images, others]), targets


def train(index, output, seed):
    keras.utils.set_random_seed(seed)
    classifier = build_classifier()
    datasets = once(lambda: read_datasets(index, seed))
    first_epoch = 0
    for phase in PHASES:
        best = run_phase(classifier, phase, first_epoch, datasets, output, seed)
        # A new model: one that resumed would begin its next `fit` at the same epoch again. It has
        # no state of the optimiser either, which the preset need not hold.
        classifier = build_classifier()
        classifier.load_weights(best)
        first_epoch += phase["epochs"]
    records = read_index(index, ["val"])
    sure = confidences(classifier, [read_rgb(record.image) for record in records])
    others = confidences(classifier, [image for _, image in held_out_outliers(STORED, seed)])
    classifier.min_confidence = least_confidence(sure, others)
    classifier.save_to_preset(output / "preset")
    print(f"min_confidence {classifier.min_confidence}: preset in {output / 'preset'}")


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


def confusion(classifier, records):
    """6 x 7 counts: rows are true, columns recognised modalities, the last one refused."""
    counts = np.zeros((len(MODALITIES), len(MODALITIES) + 1), int)
    errors = []
    found = classifier.classify([read_rgb(record.image) for record in records])
    for record, name, sure, value in zip(
        records, found["class_names"], found["confident"], found["confidences"], strict=True
    ):
        column = MODALITIES.index(name) if sure else len(MODALITIES)
        counts[MODALITIES.index(record.modality), column] += 1
        if name != record.modality or not sure:
            errors.append(
                {
                    "dataset": record.dataset,
                    "modality": record.modality,
                    "recognised": name,
                    "confidence": round(float(value), 4),
                    "refused": not sure,
                }
            )
    return counts, errors


def evaluate(index, output, seed):
    classifier = kem.models.TiCImageClassifier.from_preset(output / "preset")
    report = {
        "backend": keras.config.backend(),
        "modalities": list(MODALITIES),
        "min_confidence": classifier.min_confidence,
        "params": classifier.count_params(),
        "splits": {},
    }
    for split in ("val", "test", "unseen"):
        counts, errors = confusion(classifier, read_index(index, [split]))
        right = int(np.trace(counts[:, :-1]))
        report["splits"][split] = {
            "images": int(counts.sum()),
            "right": right,
            "refused": int(counts[:, -1].sum()),
            "confusion": counts.tolist(),
            "errors": errors,
        }
        print(f"{split}: {right} of {counts.sum()} right, {counts[:, -1].sum()} refused")
        print("\n".join(f"  {name:12}{row}" for name, row in zip(MODALITIES, counts, strict=True)))
        print("\n".join(f"  wrong: {error}" for error in errors))
    report["outliers"] = {}
    pairs = held_out_outliers(STORED, seed)
    found = classifier.classify([image for _, image in pairs])
    for (kind, _), sure in zip(pairs, found["confident"], strict=True):
        entry = report["outliers"].setdefault(kind, {"images": 0, "refused": 0})
        entry["images"] += 1
        entry["refused"] += not sure
    print({kind: f"{e['refused']}/{e['images']}" for kind, e in report["outliers"].items()})
    report["test_of_refusal"] = {}
    for name in TEST_OF_REFUSAL:
        image = outliers.read_photographs({"skimage.data": [name]}, longest=10_000)[0]
        found = classifier.classify(image)
        report["test_of_refusal"][name] = {
            "refused": not found["confident"],
            "recognised": found["class_names"],
            "confidence": round(float(found["confidences"]), 4),
        }
        print(name, report["test_of_refusal"][name])
    with atomic_path(output / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default=os.environ.get("ESPMEDSAM_DATA"))
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/modality"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--evaluate", action="store_true", help="the preset of a finished run")
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("give --data, or set ESPMEDSAM_DATA, to the folder that holds index.csv")
    index = pathlib.Path(arguments.data) / "index.csv"
    run = evaluate if arguments.evaluate else train
    run(index, arguments.output, arguments.seed)


if __name__ == "__main__":
    main()
