"""Segment two pictures that come with scikit-image, with the embedded preset.

    make demo

Finds the vessels of a fundus photograph and the nucleus of a cell, and writes masks and overlays to
`demo_output/`.
"""

import pathlib

from skimage import data

import keras_espmedsam as kem
from keras_espmedsam.data import write_mask, write_overlay

OUTPUT = pathlib.Path("demo_output")
PRESET = "espmedsam_nano_256"


def main():
    pictures = {"retina": (data.retina(), "fundus"), "cell": (data.cell(), "microscopy")}
    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(PRESET)
    results = segmenter.segment(
        [picture for picture, _ in pictures.values()],
        [modality for _, modality in pictures.values()],
    )
    OUTPUT.mkdir(exist_ok=True)
    for (name, (picture, modality)), mask in zip(pictures.items(), results["masks"], strict=True):
        mask_file, overlay_file = OUTPUT / f"{name}_mask.png", OUTPUT / f"{name}_overlay.png"
        write_mask(mask_file, mask)
        write_overlay(overlay_file, picture, mask)
        height, width = mask.shape
        print(f"{name} ({modality}, {width} x {height}): {mask.mean():.1%} foreground")
        print(f"  {mask_file.resolve()}\n  {overlay_file.resolve()}")


if __name__ == "__main__":
    main()
