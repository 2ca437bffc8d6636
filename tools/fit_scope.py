"""Fit which images are in scope of a preset's modalities, and write it into the preset.

    python tools/fit_scope.py runs/nano/preset --data DATA/index2.csv --write

Images of the split train are told from those of the other modalities, and from images that are of
none: photographs that come with scikit-image and matplotlib, and generated ones, see
`tools/outliers.py`. Those that are held out there measure the result, in `benchmarks/scope.py`.
Images of the split val set the threshold. Give the preset its size and calibration before.
"""

import argparse
import pathlib

import numpy as np
import outliers

from keras_espmedsam.errors import InputError

SIZE, SEED = 256, 0


def others(generated, crops):
    """Images that belong to no modality: photographs, parts of them, and generated ones."""
    rng = np.random.default_rng(SEED)
    photographs = outliers.read_photographs()
    parts = [outliers.crop(photographs[i % len(photographs)], SIZE, rng) for i in range(crops)]
    made = [image for _, image in outliers.synthetic(generated, SIZE, rng, photographs)]
    return [*photographs, *parts, *made]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("preset", help="a folder, or a name; with --write a folder")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="an index")
    parser.add_argument("--images", type=int, default=80, help="the most of each data set")
    parser.add_argument(
        "--crossed", type=int, default=10, help="of these, the most given as others"
    )
    parser.add_argument("--generated", type=int, default=24, help="how many images to generate")
    parser.add_argument("--write", action="store_true", help="save the preset with the result")
    options = parser.parse_args()
    if options.write and not pathlib.Path(options.preset, "config.json").is_file():
        parser.error(f"--write takes the folder of a preset; received {options.preset}")
    import keras_espmedsam as kem

    try:
        segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(options.preset)
        fitted = segmenter.fit_scope(
            options.data,
            others=others(options.generated, options.generated),
            max_images=options.images,
            max_crossed=options.crossed,
        )
    except InputError as error:
        parser.error(str(error))
    for modality in fitted.modalities:
        print(f"{modality}: {'fitted' if modality in fitted.scope else 'too few images'}")
    if options.write:
        fitted.save_to_preset(options.preset)
        print(f"Wrote {options.preset}")


if __name__ == "__main__":
    main()
