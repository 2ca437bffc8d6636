"""Choose at which size each modality is segmented, and write it into the preset if asked to.

    python tools/choose_image_sizes.py runs/nano/preset --data DATA/index2.csv
    python tools/choose_image_sizes.py runs/nano/preset --data DATA/index2.csv --write

It prints a table of each modality's mean Dice (of targets, each the mean of its data sets) at each
size. A larger size costs time with its square, so a modality gets one only if the mean gains at
least `--min-gain` over the preset's own size; of several, it gets the smallest that is within a
quarter of that gain of the best. Only the split val is read, evenly spread over at most `--images`
images of each data set. Choose the post-processing afterwards.
"""

import argparse
import collections
import pathlib

import numpy as np
from choose_postprocessing import some_of_each

from keras_espmedsam.data import read_index
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation import evaluate


def mean_dice(report):
    """The mean Dice of each modality, from a report of `evaluate`."""
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    for row in report["datasets"].values():
        value = row["dice"]["mean"]
        if value is not None and np.isfinite(value):
            found[row["modality"]][row.get("target", "")].append(value)
    return {
        modality: float(np.mean([np.mean(values) for values in targets.values()]))
        for modality, targets in found.items()
    }


def choose(dice, own, min_gain):
    """Choose the size of one modality.

    Args:
        dice: dict of size to mean Dice.
        own: the preset's size.
        min_gain: the least gain over it for which a larger size is worth its time.
    """
    if max(dice.values()) < dice[own] + min_gain:
        return own
    enough = max(max(dice.values()) - min_gain / 4, dice[own] + min_gain)
    return min(size for size, value in dice.items() if value >= enough)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("preset", help="a folder, or a name; with --write a folder")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="an index")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 384, 512])
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", type=int, default=40, help="the most of each data set")
    parser.add_argument("--min-gain", type=float, default=0.02)
    parser.add_argument("--write", action="store_true", help="save the preset with the choice")
    options = parser.parse_args()
    if options.write and not pathlib.Path(options.preset, "config.json").is_file():
        parser.error(f"--write takes the folder of a preset; received {options.preset}")
    import keras_espmedsam as kem

    try:
        segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(options.preset)
        converter = segmenter.preprocessor.image_converter
        own = converter.image_size[0]
        records = some_of_each(read_index(options.data, [options.split]), options.images)
        dice = collections.defaultdict(dict)
        for size in sorted({own, *options.sizes}):
            converter.image_sizes = dict.fromkeys(segmenter.modalities, (size, size))
            for modality, value in mean_dice(evaluate(segmenter, records)).items():
                dice[modality][size] = value
            print(f"{size} x {size}", flush=True)
    except InputError as error:
        parser.error(str(error))
    chosen = {name: choose(values, own, options.min_gain) for name, values in dice.items()}
    sizes = sorted({own, *options.sizes})
    print(f"| modality | {' | '.join(map(str, sizes))} | size |")
    print("|---" * (len(sizes) + 2) + "|")
    for name, values in dice.items():
        row = " | ".join(f"{values[size]:.4f}" for size in sizes)
        print(f"| {name} | {row} | {chosen[name]} |")
    if options.write:
        converter.image_sizes = {name: (size, size) for name, size in chosen.items() if size != own}
        segmenter.save_to_preset(options.preset)
        print(f"Wrote {options.preset}")


if __name__ == "__main__":
    main()
