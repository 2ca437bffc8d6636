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
        mask, confidence = results["masks"][i], results["confidences"][i]
        mask_file, overlay_file = OUTPUT / f"{name}_mask.png", OUTPUT / f"{name}_overlay.png"
        write_mask(mask_file, mask)
        write_overlay(overlay_file, image, mask)
        how = "given" if confidence is None else f"recognised, {confidence:.3f}"
        height, width = mask.shape
        print(
            f"{name} ({results['modalities'][i]}: {how}; {width} x {height}): "
            f"{mask.mean():.1%} foreground"
        )
        print(f"  {mask_file.resolve()}\n  {overlay_file.resolve()}")


if __name__ == "__main__":
    main()
