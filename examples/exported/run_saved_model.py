"""Segment one image with an exported SavedModel file; needs tensorflow and numpy alone.

    python run_saved_model.py MODEL IMAGE.npy MASK.npy [MODALITY]

MODEL is of `espmedsam export --format saved_model --output MODEL`, with its JSON
file beside it. IMAGE.npy holds uint8 RGB, (height, width, 3); MASK.npy gets uint8 0 and 1,
(height, width), or (height, width, targets) of a model with several targets. MODALITY, such as
fundus, is not needed where the artefact holds one alone.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf


def main(artefact, image, mask, modality=None):
    artefact = Path(artefact)
    about = json.loads(artefact.with_name(f"{artefact.name}.json").read_text())
    image = np.load(image)
    images, factor = on_canvas(image, about)
    inputs = {"images": images[None]}
    if "modalities" in about["inputs"]:
        inputs["modalities"] = np.array([about["modalities"].index(modality)], "int32")
    run = tf.saved_model.load(str(artefact)).signatures["serving_default"]
    outputs = run(**{name: tf.constant(value) for name, value in inputs.items()})
    found = outputs["masks"].numpy()[0]
    # Back to the image's size: without the padding, and enlarged again.
    height, width = image.shape[:2]
    found = found[: -(-height // factor), : -(-width // factor)]
    found = found.repeat(factor, axis=0).repeat(factor, axis=1)[:height, :width]
    names = ["foreground"]
    if found.ndim == 3:  # A plane for each target; those of the modality come first.
        names = about["targets"][modality or about["modalities"][0]]
        found = found[..., : len(names)]
    np.save(mask, found)
    for i, name in enumerate(names):
        share = (found if found.ndim == 2 else found[..., i]).mean()
        print(f"{share:.1%} of the image is {name}.")


def on_canvas(image, about):
    """The image on the model's canvas, padded with the mean colour, and how much smaller."""
    mean = np.array(about["normalization"]["mean"]).round().astype("uint8")
    height, width = about["inputs"]["images"]["shape"][1:3]
    factor = 1
    if height:
        factor = max(1, -(-image.shape[0] // height), -(-image.shape[1] // width))
    # Means of squares of `factor` pixels; the last ones repeat the border.
    rows, columns = (-(-side // factor) for side in image.shape[:2])
    rest = (rows * factor - image.shape[0], columns * factor - image.shape[1])
    image = np.pad(image, ((0, rest[0]), (0, rest[1]), (0, 0)), mode="edge")
    image = image.reshape(rows, factor, columns, factor, 3).mean(axis=(1, 3))
    if not height:
        multiple = about["size_multiple"]
        height, width = (-(-side // multiple) * multiple for side in (rows, columns))
    canvas = np.empty((height, width, 3), "uint8")
    canvas[:] = mean
    canvas[:rows, :columns] = image.round()
    return canvas, factor


if __name__ == "__main__":
    main(*sys.argv[1:])
