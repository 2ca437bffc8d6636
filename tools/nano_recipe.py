"""What the examples that train a small segmenter share: shares of the data and the phases."""

import argparse
import os
import pathlib

import keras

from keras_espmedsam.data import read_index
from keras_espmedsam.training import RunFolder, SegmentationDataset

# Shares of the data sets in a batch: the hard ones (polyps, breast lesions) are seen more often.
WEIGHTS = {
    "cvc_clinicdb": 0.26,
    "busi": 0.22,
    "isic2018": 0.16,
    "dsb2018": 0.12,
    "drive": 0.14,
    "shenzhen": 0.10,
}


def run_phase(segmenter, phase, index, output, seed):
    """Train one phase, or what is left of it; gives its `RunFolder`.

    A phase is a dict: `name`, `size` (of the canvas), `batch_size`, `epochs`, `steps`, `rate`
    (reached after `warmup` steps, 100 by default), `final` (the rate at the end), `augment`, and
    `native`: draw the images on the canvas without resizing them, and validate on them whole.
    """
    run = RunFolder(output / phase["name"], monitor="val_masks_dice", mode="max")
    size = (phase["size"], phase["size"])
    native = phase.get("native", False)
    segmenter.preprocessor.image_converter.image_size = None if native else size
    if run.is_done(phase["epochs"]):
        return run
    options = dict(modalities=segmenter.modalities, resize_mode="native" if native else "pad")
    train = SegmentationDataset(
        read_index(index, ["train"]),
        image_size=size,
        batch_size=phase["batch_size"],
        steps=phase["steps"],
        weights=WEIGHTS,
        augment=phase["augment"],
        seed=seed,
        workers=1,
        **options,
    )
    val = SegmentationDataset(
        read_index(index, ["val"]), image_size=None if native else size, batch_size=16, **options
    )
    warmup = phase.get("warmup", 100)
    schedule = keras.optimizers.schedules.CosineDecay(
        phase["rate"] * 0.05,
        decay_steps=phase["epochs"] * phase["steps"] - warmup,
        alpha=phase["final"] / phase["rate"],
        warmup_target=phase["rate"],
        warmup_steps=warmup,
    )
    segmenter.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=0.05, global_clipnorm=1.0)
    )
    run.fit(segmenter, train, validation_data=val, epochs=phase["epochs"], verbose=2)
    return run


def main(description, build_segmenter, phases, output):
    """The command line: train all phases and write the preset to the folder `output`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", default=os.environ.get("ESPMEDSAM_DATA"))
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path(output))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("give --data, or set ESPMEDSAM_DATA, to the folder that holds index.csv")
    keras.utils.set_random_seed(arguments.seed)
    segmenter = build_segmenter()
    index = pathlib.Path(arguments.data) / "index.csv"
    for phase in phases:
        run = run_phase(segmenter, phase, index, arguments.output, arguments.seed)
        run.load_best(segmenter)
    segmenter.save_to_preset(arguments.output / "preset")
    print(f"Preset written to {arguments.output / 'preset'}")
