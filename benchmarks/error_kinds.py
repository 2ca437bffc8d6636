"""Count the kinds of error that a preset makes on validation images.

    ESPMEDSAM_DATA=DATA python benchmarks/error_kinds.py PRESET [--name NAME] [--overlays FOLDER]

NAME is the preset's name with its version; give it for a folder. Writes
docs/reports/results/presets/error_kinds.json, from which `preset_accuracy.py report` makes a table.
Of each data set at most `--images` images are segmented, evenly spread. `--overlays` writes what
was found and what is true beside each other, to be looked at: outside of the repository, as images
of the data sets must not be published. What was seen in them is written by hand, into
error_kinds_by_eye.json beside the counts.
"""

import argparse
import json
import os
import pathlib

import numpy as np
from preset_accuracy import INDEX, RESULTS, ROOT, records_of, some_of_each
from report_pages import table
from scipy import ndimage

from keras_espmedsam.data import atomic_path

KINDS = ("missed", "false patch", "specks", "hole", "border")
# Shares of the image's area.
OBJECT, PATCH = 0.002, 0.002
# Below this share, two regions do not overlap.
TOUCHED = 0.1
# The Dice of what is left, without all other kinds of error, below which a border is wrong.
BORDER = 0.9
SECTION = """
## Kinds of error

On {images} validation images, evenly spread over the data sets, by `{name}`; an image may have
several kinds. Counted by

    ESPMEDSAM_DATA=DATA python benchmarks/error_kinds.py {name}

{table}

- *Missed*: of a true object of at least 0.2 % of the image, less than a tenth is found.
- *False patch*: an object of at least 0.2 % of the image was found, of which less than a tenth is
  true.
- *Specks*: the same, of smaller ones.
- *Hole*: a hole in what was found, of which at least nine tenths are foreground.
- *Border*: what is left without all of these has a Dice below 0.9.
"""
BY_EYE = """
### By eye

{images} validation images, at most 14 of each data set, were looked at on {date} by {by}, on
sheets of 12 with the labels beside the masks; no physician has looked. Images, by what is plain to
see:

{table}

*Wrong target* is a mask that shows another target; the other kinds are as above.

{seen}
"""


def kinds_of(truth, found):
    """The kinds of error of one mask: a set of `KINDS`.

    Args:
        truth, found: bool arrays `(height, width)`.

    Example:
        >>> truth = np.zeros((40, 40), bool)
        >>> truth[10:20, 10:20] = True
        >>> found = truth.copy()
        >>> found[14:16, 14:16] = False
        >>> found[30, 30] = True
        >>> sorted(kinds_of(truth, found))
        ['hole', 'specks']
    """
    kinds = set()
    left = [truth.copy(), found.copy()]
    labels, shares, areas = _overlaps(truth, found)
    for number in np.flatnonzero((shares < TOUCHED) & (areas >= OBJECT * truth.size)):
        kinds.add("missed")
        left[0][labels == number + 1] = False
    labels, shares, areas = _overlaps(found, truth)
    for number in np.flatnonzero(shares < TOUCHED):
        kinds.add("false patch" if areas[number] >= PATCH * truth.size else "specks")
        left[1][labels == number + 1] = False
    holes = ndimage.binary_fill_holes(found) & ~found
    labels, shares, _ = _overlaps(holes, truth)
    for number in np.flatnonzero(shares >= 1 - TOUCHED):
        kinds.add("hole")
        left[1][labels == number + 1] = True
    total = left[0].sum() + left[1].sum()
    if total and 2 * (left[0] & left[1]).sum() / total < BORDER:
        kinds.add("border")
    return kinds


def _overlaps(mask, other):
    """The connected components of a mask: labels, the share of each in the other, and areas."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    numbers = np.arange(1, count + 1)
    if not count:
        return labels, np.zeros(0), np.zeros(0)
    return labels, ndimage.mean(other, labels, numbers), ndimage.sum(mask, labels, numbers)


def section(result, seen=None):
    """The section of the page.

    Args:
        result: what `count` wrote.
        seen: what was seen by eye, from error_kinds_by_eye.json; left out if it is of another
            preset.
    """
    counted = _table(result["targets"], ["modality", "target", "masks", *KINDS, "none"])
    text = SECTION.format(images=result["images"], name=result["preset"], table=counted)
    if seen is None or seen["preset"] != result["preset"]:
        return text
    rows = seen["modalities"]
    return text + BY_EYE.format(
        images=sum(row["images"] for row in rows),
        date=seen["date"],
        by=seen["by"],
        table=_table(rows, ["modality", "images", *KINDS, "wrong target", "none"]),
        seen="\n".join(f"- {sentence}" for sentence in seen["seen"]),
    )


def _table(rows, names):
    header = ["none of these" if name == "none" else name for name in names]
    return table(header, [[row[name] for name in names] for row in rows])


def count(preset, name, index, most, overlays):
    """Segment, count and write."""
    import keras_espmedsam as kem
    from keras_espmedsam.data.images import MAX_PIXELS
    from keras_espmedsam.data.samples import target_images
    from keras_espmedsam.imaging.intensity import AUTO

    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(preset)
    records = some_of_each(records_of(index, segmenter, ["val"]), most)
    rows, images = {}, 0
    for record in records:
        for image, labels in target_images(record, MAX_PIXELS, AUTO, False):
            images += 1
            found = segmenter.segment(image.array, record.modality)
            drawn = found["masks"].reshape(*found["masks"].shape[:2], -1)
            named = dict(zip(found["targets"], np.moveaxis(drawn, -1, 0), strict=True))
            for target, pixels in labels.items():
                mask = named[target if target in named else found["targets"][0]]
                kinds = kinds_of(pixels.mask != 0, mask)
                row = rows.setdefault((record.modality, target), dict.fromkeys(KINDS, 0))
                row["masks"] = row.get("masks", 0) + 1
                row["none"] = row.get("none", 0) + (not kinds)
                for kind in kinds:
                    row[kind] += 1
            if overlays:
                _draw(overlays, record, image.array, named, labels)
    result = {
        "preset": name,
        "images": images,
        "targets": [
            {"modality": modality, "target": target, **row}
            for (modality, target), row in sorted(rows.items())
        ],
    }
    with atomic_path(RESULTS / "error_kinds.json") as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(section(result))


def _draw(folder, record, image, found, labels):
    """What was found on the left, what is true on the right."""
    from keras_espmedsam.data import write_overlay

    names = [name for name in found if name in labels] or list(found)
    truths = [labels.get(name, next(iter(labels.values()))).mask != 0 for name in names]
    stem = f"{record.modality}-{record.dataset}-{pathlib.Path(record.image).stem}"
    both = np.concatenate([image, image], axis=1)
    masks = [
        np.concatenate([found[name], truth], axis=1)
        for name, truth in zip(names, truths, strict=True)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_overlay(folder / f"{stem}.png", both, np.stack(masks, axis=-1), names)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("preset", help="a name, or a folder with --name")
    parser.add_argument("--name", help="of the preset in the table, with its version")
    parser.add_argument("--images", type=int, default=12, help="the most of each data set")
    parser.add_argument("--overlays", type=pathlib.Path, help="a folder outside of the repository")
    options = parser.parse_args()
    data = os.environ.get("ESPMEDSAM_DATA", "")
    if not (pathlib.Path(data) / INDEX).is_file():
        parser.error(f"set ESPMEDSAM_DATA to the folder that holds {INDEX}.")
    if options.overlays and options.overlays.resolve().is_relative_to(ROOT):
        parser.error(f"{options.overlays} is in the repository; give a folder outside of it.")
    from keras_espmedsam.hub.built_in_presets import versioned_name

    name = options.name or versioned_name(options.preset)
    if os.sep in name:
        parser.error(f"give a folder a name: --name NAME@VERSION; received {options.preset}")
    count(options.preset, name, pathlib.Path(data) / INDEX, options.images, options.overlays)


if __name__ == "__main__":
    main()
