"""How to tell nuclei apart: by a map of their boundaries, of their cores, or not at all.

    ESPMEDSAM_DATA=/path/to/data python benchmarks/instances.py limit
    ESPMEDSAM_DATA=/path/to/data python benchmarks/instances.py train --output runs/instances

`limit` needs no model: the true masks and maps on a canvas of 256 pixels, as they are and as soft
as a decoder of a quarter of that size would draw them, split and compared with the true objects.
`train` trains the microscopy of `espmedsam_nano_256` for the same number of steps with each map,
all weights or those of the map alone, and measures on val; connected components are those of the
same model's masks. The present preset and the model with cores are then measured on images that
chose nothing. Both print tables; `train` keeps weights and figures in the output folder, and goes
on with what is missing.
"""

import argparse
import json
import os
import pathlib
import time

import keras
import numpy as np
from PIL import Image

import keras_espmedsam as kem
from keras_espmedsam.data import atomic_path, read_index, read_targets
from keras_espmedsam.evaluation.instance_metrics import match_objects, summarise_instances
from keras_espmedsam.imaging.instance_maps import instance_map
from keras_espmedsam.imaging.instances import split_instances
from keras_espmedsam.imaging.placement import Placement
from keras_espmedsam.training import Augmentation, SegmentationDataset

PRESET, MODALITY, TARGET, SIZE = "espmedsam_nano_256@1", "microscopy", "nuclei", (256, 256)
TRAINED_ON = ("dsb2018", "gbm40", "tcga_glioma", "neuroblastoma")
MEASURED_ON = ("dsb2018", "gbm40", "tcga_glioma")
HELD_OUT = (("dsb2018", "test"), ("miccai15_nuclei", "unseen"))
RULES = {MODALITY: {TARGET: {"min_area": 20}}}
KINDS = ("boundary", "core")
SOFT = 4  # A decoder's pixels are so many pixels of the canvas wide.
BATCH_SIZE, RATE, SEED = 8, 1e-3, 0
AUGMENT = Augmentation(vertical_flip=0.5, right_angles=True, brightness=0.3, contrast=0.3)
METRICS = ("ap50", "pq", "dsb50", "count_error")


def objects_of(record):
    """The image and its true objects; an index names the first target or leaves it out."""
    image, targets = next(read_targets(record))
    return image.array, targets.get(TARGET, targets.get("")).instances


def on_canvas(labels, place):
    """Numbers cannot be averaged: each pixel of the canvas takes that in its middle."""
    places = []
    for length, inner in zip(place.size, place.inner, strict=True):
        places.append(((np.arange(inner) + 0.5) * length / inner).astype(int))
    canvas = np.zeros(place.canvas, labels.dtype)
    canvas[: place.inner[0], : place.inner[1]] = labels[np.ix_(*places)]
    return canvas


def softened(values, factor):
    """Draw a map with pixels as large as a decoder's, and enlarge it smoothly."""
    height, width = values.shape
    small = values.reshape(height // factor, factor, width // factor, factor).mean((1, 3))
    large = Image.fromarray(small.astype("float32")).resize((width, height), Image.BILINEAR)
    return np.asarray(large)


def limit(index):
    """What true masks and maps of the canvas's size give, for each kind and softness."""
    rows = {}
    for dataset in MEASURED_ON:
        found = {}
        for record in read_index(index, ["val"], [dataset]):
            _, truth = objects_of(record)
            place = Placement.of(truth.shape, SIZE)
            labels = on_canvas(truth, place)
            for factor in (1, SOFT):
                mask = place.backward(softened(labels != 0, factor))
                for kind in ("components", *KINDS):
                    hidden = None
                    if kind != "components":
                        hidden = place.backward(softened(instance_map(labels, kind), factor))
                    objects = split_instances(mask, hidden, kind)
                    name = f"{kind}, {'soft' if factor > 1 else 'exact'}"
                    found.setdefault(name, []).append(match_objects(truth, objects))
        rows[dataset] = {name: summarise_instances(one) for name, one in found.items()}
    return rows


def build(kind, whole):
    """The preset's microscopy with the map as a hidden channel, which starts as the mask's."""
    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(PRESET).specialize(MODALITY)
    if segmenter.target_set.is_default:
        segmenter.name_targets({MODALITY: TARGET})
    segmenter = segmenter.add_instances(MODALITY, TARGET, kind, freeze=not whole)
    return kem.models.ESPMedSAMImageSegmenter(
        segmenter.backbone, segmenter.preprocessor, postprocessing=RULES
    )


def train(segmenter, index, steps):
    dataset = SegmentationDataset(
        read_index(index, ["train"], TRAINED_ON),
        modalities=segmenter.modalities,
        image_size=SIZE,
        batch_size=BATCH_SIZE,
        steps=steps,
        augment={MODALITY: AUGMENT},
        seed=SEED,
        targets=segmenter.target_set,
    )
    warmup = max(1, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        RATE * 0.05, steps - warmup, alpha=0.01, warmup_target=RATE, warmup_steps=warmup
    )
    segmenter.compile(keras.optimizers.AdamW(schedule, weight_decay=0.05, global_clipnorm=1.0))
    history = segmenter.fit(dataset, epochs=1, verbose=2).history
    return {name: float(values[-1]) for name, values in history.items()}


def measure(segmenter, index, kind, sets):
    """The objects that the model gives, and connected components of the same masks."""
    rows = {}
    for dataset, split in sets:
        found = {kind: [], "components": []}
        for record in read_index(index, [split], [dataset]):
            image, truth = objects_of(record)
            result = segmenter.segment(image, MODALITY)
            mask = result["masks"]
            parts = split_instances(mask[..., 0] if mask.ndim == 3 else mask)
            found["components"].append(match_objects(truth, parts))
            objects = result["instances"].get(TARGET, parts)
            found[kind].append(match_objects(truth, objects))
        rows[f"{dataset} {split}"] = {name: summarise_instances(one) for name, one in found.items()}
    return rows


def table(rows, column):
    lines = [
        f"| {column} | data set | " + " | ".join(METRICS) + " |",
        "|---" * (2 + len(METRICS)) + "|",
    ]
    for dataset, by_name in rows.items():
        for name, found in by_name.items():
            # The mean over the images; of count errors, too.
            values = " | ".join(f"{found[metric]['mean']:.3f}" for metric in METRICS)
            lines.append(f"| {name} | {dataset} | {values} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("limit", "train"))
    parser.add_argument("--data", default=os.environ.get("ESPMEDSAM_DATA"))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--map-alone", action="store_true", help="train only the map's weights")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/instances"))
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("give --data or set ESPMEDSAM_DATA")
    index = pathlib.Path(arguments.data) / "index2.csv"
    if arguments.what == "limit":
        print(table(limit(index), "true maps"))
        return
    for kind in arguments.kinds:
        name = f"{kind}_{'map' if arguments.map_alone else 'all'}_{arguments.steps}"
        path = arguments.output / f"{name}.json"
        if not path.exists():
            keras.utils.set_random_seed(SEED)
            segmenter = build(kind, whole=not arguments.map_alone)
            result, weights = {}, path.with_suffix(".weights.h5")
            if weights.exists():
                segmenter.load_weights(weights)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                begin = time.perf_counter()
                result["history"] = train(segmenter, index, arguments.steps)
                result["seconds"] = time.perf_counter() - begin
                segmenter.save_weights(weights)
            result["val"] = measure(segmenter, index, kind, [(name, "val") for name in MEASURED_ON])
            if kind == "core":  # The kind that val chose.
                result["held_out"] = measure(segmenter, index, kind, HELD_OUT)
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(result, indent=1), encoding="utf-8")
        result = json.loads(path.read_text(encoding="utf-8"))
        print(f"\n{name}: {result.get('seconds', 0):.0f} s\n")
        print(table(result["val"], "objects"), flush=True)
        if "held_out" in result:
            print("\n" + table(result["held_out"], "objects"))
            preset = kem.models.ESPMedSAMImageSegmenter.from_preset(PRESET).specialize(MODALITY)
            print("\n" + table(measure(preset, index, "preset", HELD_OUT), "objects"), flush=True)


if __name__ == "__main__":
    main()
