"""What the reading of 16-bit images costs: Dice on the same images in 8 bits and in 16.

    ESPMEDSAM_DATA=DATA KERAS_BACKEND=torch python benchmarks/intensity.py --output docs/reports

Takes up to 20 validation images of each data set in DATA/index.csv, writes each as a 16-bit file of
which 8, 10, 12, 14 or all 16 bits are used, with and without hot pixels, and segments it with its
black and white found by the policy ("auto") and taken for the whole range ("full", the reading of
version 0.1.0). Writes the mean Dice of each data set to `intensity.md` in the output folder.
"""

import argparse
import os
import pathlib
import platform
import sys
import tempfile
import time
import warnings

import numpy as np

HOT_PIXELS = 5
OFFSET = "300 to 2800"
CUT = "the 0.5 and 99.5 percentiles"
AUTO_COLUMNS = 10
VARIANTS = {
    "8 bits": (8, 0, "auto"),
    "8 of 16": (8, 0, "auto"),
    "10 of 16": (10, 0, "auto"),
    "12 of 16": (12, 0, "auto"),
    "14 of 16": (14, 0, "auto"),
    "8 x 257": ("x 257", 0, "auto"),
    "16 of 16": (16, 0, "auto"),
    "12, hot pixels": (12, HOT_PIXELS, "auto"),
    "14, hot pixels": (14, HOT_PIXELS, "auto"),
    "300 to 2800": (OFFSET, 0, "auto"),
    "10, full": (10, 0, "full"),
    "12, full": (12, 0, "full"),
    "14, full": (14, 0, "full"),
    "16, full": (16, 0, "full"),
    "12, 0:4095": (12, 0, (0, 4095)),
    "12, cut 0.5 %": (12, 0, CUT),
    "300 to 2800, 0:4095": (OFFSET, 0, (0, 4095)),
}

COMMAND = (
    "ESPMEDSAM_DATA=DATA KERAS_BACKEND=torch python benchmarks/intensity.py --output docs/reports"
)
DOCUMENT = """\
# Black and white of 16-bit images, measured

    {command}

Mean Dice of `{preset}` on up to {most} validation images of each data set: in their own 8 bits, and
written as 16-bit TIFF of which as many bits are used as the column says. "16 of 16" has random
values in its low 8 bits; "hot pixels" are {hot} pixels of 65,535; "300 to 2800" are the values of a
camera of 12 bits with an offset, not fully exposed. {machine}; keras {keras}, seed 0,
{seconds:.0f} s.

{auto}

## As version 0.1.0 read them, and as one may say it

`intensity="full"` is the reading of version 0.1.0: the whole range of 16 bits, whatever is used of
it. `intensity="0:4095"` says what black and white are. "cut 0.5 %" takes the 0.5 and 99.5
percentiles for them, as is done for what scanners measure, in place of the 0.1 and 99.9.

{said}

File and array in memory gave the same brightness for all {count} images and variants (largest
difference {difference:.0e}).

{words}
"""


def stored(image, bits, hot, random):
    """The image in 16 bits, `bits` of them used."""
    if bits == "x 257":
        return image.astype(np.uint16) * 257
    if bits == 16:
        noisy = image.astype(int) * 257 + random.integers(-128, 128, image.shape)
        return np.clip(noisy, 0, 65535).astype(np.uint16)
    if bits == OFFSET:
        return (image / 255 * 2500 + 300).round().astype(np.uint16)
    array = (image / 255 * (2**bits - 1)).round().astype(np.uint16)
    for _ in range(hot):
        array[random.integers(image.shape[0]), random.integers(image.shape[1])] = 65535
    return array


def dice(mask, truth):
    total = mask.sum() + truth.sum()
    return 2 * (mask & truth).sum() / total if total else 1.0


def measure(segmenter, records, folder):
    """Dice of every variant for every image, and the largest difference of file and memory."""
    import tifffile

    from keras_espmedsam.data import read_image, read_samples
    from keras_espmedsam.imaging.pixels import to_rgb

    random, scores, difference = np.random.default_rng(0), [], 0.0
    for record in records:
        ((image, truth),) = read_samples(record)
        images = [image.array]
        for bits, hot, intensity in list(VARIANTS.values())[1:]:
            array = stored(image.array, bits, hot, random)
            if intensity == CUT:
                intensity = tuple(np.percentile(array, (0.5, 99.5)))
            tifffile.imwrite(folder / "image.tif", array)
            read = read_image(folder / "image.tif", intensity=intensity).array
            gap = np.abs(to_rgb(read) - to_rgb(array, intensity)).max()
            difference = max(difference, float(gap))
            images.append(read)
        masks = segmenter.segment(images, record.modality)["masks"]
        scores.append([dice(mask, truth) for mask in masks])
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return np.array(scores), difference


def table(rows, names):
    lines = [f"| data set | images | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    columns = [list(VARIANTS).index(name) for name in names]
    for key, scores in rows.items():
        means = " | ".join(f"{value:.3f}" for value in scores.mean(axis=0)[columns])
        lines.append(f"| {key} | {len(scores)} | {means} |")
    means = np.mean([scores.mean(axis=0) for scores in rows.values()], axis=0)[columns]
    lines.append(f"| **mean** | | {' | '.join(f'{value:.3f}' for value in means)} |")
    return "\n".join(lines)


def in_words(rows):
    """What percentiles change, from the figures."""
    names = list(VARIANTS)
    change = {
        key: float((scores[:, names.index("12 of 16")] - scores[:, 0]).mean())
        for key, scores in rows.items()
    }
    worst = min(change, key=change.get)
    best = max(change, key=change.get)
    return (
        "Percentiles in place of the camera's own range change the mean Dice by "
        f"{change[worst]:+.3f} ({worst}) to {change[best]:+.3f} ({best}): they lift dark images. "
        "Where the range is known, `intensity` says it, and nothing changes."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="espmedsam_nano_256@1", help="name or folder")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("docs/reports"))
    parser.add_argument("--images", type=int, default=20, help="the most of each data set")
    arguments = parser.parse_args()
    data = os.environ.get("ESPMEDSAM_DATA")
    if not data:
        parser.error("set ESPMEDSAM_DATA to the folder of the labelled data")

    import keras

    import keras_espmedsam as kem
    from keras_espmedsam.data import read_index

    warnings.simplefilter("ignore")  # the notices of black and white, one for each image
    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(arguments.preset)
    sets = {}
    for record in read_index(pathlib.Path(data) / "index.csv"):
        if record.split == "val":
            sets.setdefault(f"{record.modality}, {record.dataset}", []).append(record)
    start, rows, difference = time.perf_counter(), {}, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for key, records in sets.items():
            records = records[: arguments.images]
            rows[key], gap = measure(segmenter, records, pathlib.Path(folder))
            difference = max(difference, gap)
    names = list(VARIANTS)
    text = DOCUMENT.format(
        command=COMMAND,
        preset=pathlib.Path(arguments.preset).name,
        most=arguments.images,
        hot=HOT_PIXELS,
        machine=f"{platform.machine()}, {os.cpu_count()} CPU cores",
        keras=f"{keras.__version__} on {keras.backend.backend()}",
        seconds=time.perf_counter() - start,
        auto=table(rows, names[:AUTO_COLUMNS]),
        said=table(rows, ["8 bits", *names[AUTO_COLUMNS:]]),
        count=sum(map(len, rows.values())),
        difference=difference,
        words=in_words(rows),
    )
    print(text)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "intensity.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
