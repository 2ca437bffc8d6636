"""Choose a preset's post-processing on labelled images, and write it into the preset if asked to.

    python tools/choose_postprocessing.py runs/nano/preset --data DATA/index2.csv
    python tools/choose_postprocessing.py runs/nano/preset --data DATA/index2.csv --write

It prints a table of the mean Dice (PQ of objects) of each target's data sets before and after. Only
the split val is read, evenly spread over at most `--images` images of each data set. `--write`
saves the preset anew with the same weights; a card that states results has to be made again.
"""

import argparse
import pathlib
import sys

from keras_espmedsam.data import read_index
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.choose_postprocessing import (
    choose_postprocessing,
    postprocessing_of,
)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "benchmarks"))
from preset_accuracy import some_of_each


def table(choices):
    """The choices as a Markdown table."""
    lines = [
        "| modality | target | images | measure | before | after | post-processing |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in choices:
        said = ", ".join(f"{name} {value}" for name, value in one.options.items()) or "none"
        lines.append(
            f"| {one.modality} | {one.target} | {one.num_images} | {one.measure} "
            f"| {one.before:.4f} | {one.after:.4f} | {said} |"
        )
    return "\n".join(lines)


def write(segmenter, folder, choices):
    """Save the preset with the chosen post-processing."""
    changed = type(segmenter)(
        segmenter.backbone, segmenter.preprocessor, postprocessing=postprocessing_of(choices)
    )
    changed.save_to_preset(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("preset", help="a folder, or a name; with --write a folder")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="an index")
    parser.add_argument("--split", default="val")
    parser.add_argument("--target", action="append", help="only this target; may be repeated")
    parser.add_argument("--dataset", action="append", help="only this data set; may be repeated")
    parser.add_argument("--images", type=int, default=40, help="the most of each data set")
    parser.add_argument("--min-gain", type=float, default=0.001)
    parser.add_argument("--write", action="store_true", help="save the preset with the choice")
    options = parser.parse_args()
    if options.write and not pathlib.Path(options.preset, "config.json").is_file():
        parser.error(f"--write takes the folder of a preset; received {options.preset}")
    import keras_espmedsam as kem

    try:
        segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(options.preset)
        records = read_index(options.data, [options.split], options.dataset, targets=options.target)
        records = some_of_each(records, options.images)
        choices = choose_postprocessing(
            segmenter,
            records,
            options.min_gain,
            progress=lambda one: print(f"{one.modality}: {one.target}", flush=True),
        )
    except InputError as error:
        parser.error(str(error))
    print(table(choices))
    if options.write:
        write(segmenter, pathlib.Path(options.preset), choices)
        print(f"Wrote {options.preset}")


if __name__ == "__main__":
    main()
