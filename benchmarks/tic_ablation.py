"""What the cyclic shift and the inter-pooling of TiC add: four variants, three seeds each.

    ESPMEDSAM_DATA=/path/to/data python benchmarks/tic_ablation.py --output runs/ablation

The task is to name the modality of an image of 96 x 96 pixels. All variants have the same number
of steps, the same images in the same order and the same number of parameters: neither mechanism
has weights. Trained on the train split; val and test are measured once, at the end, with the last
weights. Stopped at any moment, the same command goes on with the first run that is not done.
Writes docs/reports/tic_ablation.md after each seed but the first.
"""

import argparse
import json
import os
import pathlib
import platform
import time

import keras
import numpy as np

import keras_espmedsam as kem
from keras_espmedsam.data import atomic_path, read_image, read_index
from keras_espmedsam.imaging.pixels import to_rgb
from keras_espmedsam.imaging.placement import resize
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import MODALITIES
from keras_espmedsam.training import Augmentation

SIZE = 96
KERNEL_SIZE = 3  # Small, so that reach beyond the window has something to add.
CONFIGURATION = dict(hidden_dims=(24, 48, 96), depths=(2, 2, 2), num_heads=(1, 2, 4))
VARIANTS = {
    "plain": dict(shift_size=None, pool_size=None),
    "+ shift": dict(shift_size=KERNEL_SIZE, pool_size=None),
    "+ pooling": dict(shift_size=None, pool_size=4),
    "+ both": dict(shift_size=KERNEL_SIZE, pool_size=4),
}
SEEDS = (0, 1, 2)
STEPS, BATCH_SIZE, RATE = 110, 32, 2e-3
AUGMENT = Augmentation(vertical_flip=0.5, scale=(0.8, 1.5), rotation=20, saturation=0.4)
DOCUMENT = pathlib.Path(__file__).resolve().parents[1] / "docs" / "reports" / "tic_ablation.md"


def build_classifier(variant):
    backbone = kem.models.TiCBackbone(kernel_size=KERNEL_SIZE, **CONFIGURATION, **VARIANTS[variant])
    converter = kem.models.TiCImageConverter(image_size=(SIZE, SIZE))
    preprocessor = kem.models.TiCImageClassifierPreprocessor(converter)
    return kem.models.TiCImageClassifier(
        backbone, class_names=MODALITIES, preprocessor=preprocessor
    )


def read_split(index, split):
    records = read_index(index, [split])
    images = []
    for record in records:
        values = resize(to_rgb(read_image(record.image).array) * np.float32(255), SIZE, SIZE)
        images.append(np.clip(np.round(values), 0, 255).astype("uint8"))
    return np.stack(images), np.array([MODALITIES.index(record.modality) for record in records])


class Draws(keras.utils.PyDataset):
    """Batches with equally many images of each modality on average, drawn by seed and number."""

    def __init__(self, images, labels, seed):
        super().__init__()
        self.images, self.labels, self.seed = images, labels, seed
        self.members = [np.flatnonzero(labels == k) for k in range(len(MODALITIES))]

    @property
    def num_batches(self):
        return STEPS

    def __getitem__(self, index):
        rng = np.random.default_rng([self.seed, index])
        rows = [rng.choice(self.members[k]) for k in rng.integers(len(MODALITIES), size=BATCH_SIZE)]
        mask = np.zeros((SIZE, SIZE), bool)
        images = [AUGMENT(self.images[row], mask, rng)[0] for row in rows]
        return np.stack(images), self.labels[rows]


def run(variant, seed, data):
    """Train one variant once; its measures as a dict."""
    keras.utils.set_random_seed(seed)
    classifier = build_classifier(variant)
    schedule = keras.optimizers.schedules.CosineDecay(
        RATE * 0.05, STEPS - 20, alpha=0.001, warmup_target=RATE, warmup_steps=20
    )
    classifier.compile(keras.optimizers.AdamW(schedule, weight_decay=0.05, global_clipnorm=1.0))
    start = time.process_time()
    classifier.fit(Draws(*data["train"], seed), epochs=1, verbose=0, shuffle=False)
    result = {"seconds": time.process_time() - start, "params": classifier.count_params()}
    for split in ("val", "test"):
        found = classifier.evaluate(*data[split], verbose=0, return_dict=True)
        result[split] = {name: float(found[name]) for name in ("accuracy", "loss")}
    return result


def mean_and_spread(values, digits):
    values = np.array(values)
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"


def reading(results, seeds):
    """In words: how each variant differs from plain, seed by seed, beside what chance does."""
    lines = []
    for split in ("val", "test"):
        for variant in list(VARIANTS)[1:]:
            gains = [
                100
                * (results[variant, s][split]["accuracy"] - results["plain", s][split]["accuracy"])
                for s in seeds
            ]
            spread = np.std(gains, ddof=1) / np.sqrt(len(gains))
            told = "more" if abs(np.mean(gains)) > 2 * spread else "not more"
            lines.append(
                f"- {variant}, {split}: {np.mean(gains):+.1f} points of accuracy over plain with "
                f"the same seed, standard error {spread:.1f}: {told} than two standard errors."
            )
    return "\n".join(lines)


def document(results, seeds):
    """The results of all variants for some seeds as Markdown."""
    lines = [
        "| variant | parameters | val accuracy (%) | val loss | test accuracy (%) | test loss "
        "| CPU seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant in VARIANTS:
        runs = [results[variant, seed] for seed in seeds]
        cells = [variant, f"{runs[0]['params']:,}"]
        for split in ("val", "test"):
            cells.append(mean_and_spread([100 * one[split]["accuracy"] for one in runs], 1))
            cells.append(mean_and_spread([one[split]["loss"] for one in runs], 3))
        cells.append(f"{np.mean([one['seconds'] for one in runs]):.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    heads = " | ".join(f"{split}, seed {seed}" for split in ("val", "test") for seed in seeds)
    single = [
        f"| {variant} | "
        + " | ".join(f"{100 * results[variant, s]['val']['accuracy']:.1f}" for s in seeds)
        + " | "
        + " | ".join(f"{100 * results[variant, s]['test']['accuracy']:.1f}" for s in seeds)
        + " |"
        for variant in VARIANTS
    ]
    return DOCUMENT_TEXT.format(
        table="\n".join(lines),
        single="\n".join([f"| variant | {heads} |", "|---" * (2 * len(seeds) + 1) + "|", *single]),
        reading=reading(results, seeds),
        seeds=len(seeds),
        steps=STEPS,
        batch_size=BATCH_SIZE,
        size=SIZE,
        kernel=KERNEL_SIZE,
        dims=CONFIGURATION["hidden_dims"],
        depths=CONFIGURATION["depths"],
        backend=keras.config.backend(),
        cores=os.cpu_count(),
        machine=platform.machine(),
        version=keras.__version__,
    )


DOCUMENT_TEXT = """\
# Ablation of TiC's two mechanisms

The paper's ablation (plain, + shift, + pooling, + both) on the task that TiC has here: naming the
modality of an image. Written by `benchmarks/tic_ablation.py`; the network is ours, so this says
nothing of the paper's own numbers.

{table}

Mean ± standard deviation (n - 1) of {seeds} seeds, after the last step; CPU seconds are those of
the training alone. Val holds 191 images and test 304: one image is 0.5 and 0.3 per cent.

{reading}

With so few seeds, a task so nearly solved and so short a training this decides little.

Single runs, accuracy in per cent:

{single}

## How

    ESPMEDSAM_DATA=DATA KERAS_BACKEND=torch OMP_NUM_THREADS=1 \\
        taskset -c 1 python benchmarks/tic_ablation.py --output runs/ablation

One core of a {cores}-core {machine} machine without GPU, Keras {version} on {backend}.
{steps} steps of {batch_size} augmented images of {size} x {size}; `TiCBackbone` with
hidden_dims={dims}, depths={depths}, kernel_size={kernel}; AdamW, cosine decay. A seed gives the
initial weights and the images, so the variants of one seed saw the same images in the same
order. Nothing was tuned on val or test.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default=os.environ.get("ESPMEDSAM_DATA"))
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/ablation"))
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("give --data, or set ESPMEDSAM_DATA, to the folder that holds index.csv")
    index = pathlib.Path(arguments.data) / "index.csv"
    data, results = None, {}
    for seed in SEEDS:
        for variant in VARIANTS:
            file = arguments.output / f"{variant.replace(' ', '')}_{seed}.json"
            if not file.exists():
                data = data or {s: read_split(index, s) for s in ("train", "val", "test")}
                result = run(variant, seed, data)
                with atomic_path(file) as temporary:
                    temporary.write_text(json.dumps(result, indent=2) + "\n")
            results[variant, seed] = json.loads(file.read_text())
            print(f"{variant}, seed {seed}: {results[variant, seed]}", flush=True)
        if seed > 0:  # One alone has no spread.
            with atomic_path(DOCUMENT) as temporary:
                temporary.write_text(document(results, SEEDS[: seed + 1]), encoding="utf-8")
            print(f"Wrote {DOCUMENT}", flush=True)


if __name__ == "__main__":
    main()
