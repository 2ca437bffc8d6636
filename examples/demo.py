"""Segment two images that come with scikit-image, with the built-in presets.

    make demo

Recognises a fundus photograph and finds its vessels; finds the nucleus of a cell, told that it is
microscopy. Writes masks and overlays to `demo_output/`.
"""

import pathlib

from skimage import data

import keras_espmedsam as kem
from keras_espmedsam.data import write_mask, write_overlay

OUTPUT = pathlib.Path("demo_output")
PRESET = "espmedsam_nano_256"


def main():
    # A bright-field image of one cell is unlike the microscopy that the classifier has seen.
    images = {"retina": (data.retina(), "auto"), "cell": (data.cell(), "microscopy")}
    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(PRESET)
    results = segmenter.segment(
        [image for image, _ in images.values()],
        [modality for _, modality in images.values()],
    )
    OUTPUT.mkdir(exist_ok=True)
    for i, (name, (image, _)) in enumerate(images.items()):
        mask, targets = results["masks"][i], results["targets"][i]
        confidence = results["confidences"][i]
        how = "given" if confidence is None else f"recognised, {confidence:.3f}"
        height, width = mask.shape[:2]
        print(f"{name} ({results['modalities'][i]}: {how}; {width} x {height})")
        for number, target in enumerate(targets):
            plane = mask if mask.ndim == 2 else mask[..., number]
            file = OUTPUT / f"{name}{f'_{target}' if len(targets) > 1 else ''}_mask.png"
            write_mask(file, plane)
            print(f"  {target}: {plane.mean():.1%} of the image, {file.resolve()}")
        file = OUTPUT / f"{name}_overlay.png"
        write_overlay(file, image, mask, targets if len(targets) > 1 else ())
        print(f"  {file.resolve()}")


if __name__ == "__main__":
    main()
