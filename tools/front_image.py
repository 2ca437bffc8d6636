"""Draw the image of README.md and docs/index.md: a fundus photograph beside what is found in it.

    pip install scikit-image
    python tools/front_image.py

The photograph is scikit-image's (in the public domain), so the image may be shown anywhere.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

import keras_espmedsam as kem
from keras_espmedsam.imaging.target_colours import target_colours

REPOSITORY = Path(__file__).resolve().parent.parent
OUTPUT = REPOSITORY / "docs" / "images" / "retina.jpg"
PRESET = "espmedsam_nano_256"
# Its masks of arteries and veins are still nearly those of all vessels.
TARGETS = ("vessels", "optic_disc", "optic_cup")
HEIGHT, GAP = 420, 8  # pixels


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    output = parser.parse_args().output
    photograph = data.retina()
    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(PRESET)
    masks = segmenter.segment(photograph, "fundus", targets=TARGETS)["masks"]
    output.parent.mkdir(parents=True, exist_ok=True)
    side_by_side(photograph, masks, TARGETS).save(output, quality=85, optimize=True)
    print(f"Wrote {output}.")


def side_by_side(photograph, masks, targets):
    """Photograph, overlay and masks, each target in a colour of its own, as one Pillow image."""
    overlay = kem.data.draw_overlay(photograph, masks, targets)
    height, width = photograph.shape[:2]  # Below is the legend.
    alone = np.zeros_like(photograph)
    for k, colour in enumerate(target_colours(targets).values()):
        alone[masks[..., k]] = colour
    parts = [photograph, overlay[:height, :width], alone]
    parts = [Image.fromarray(part).resize((HEIGHT, HEIGHT), Image.LANCZOS) for part in parts]
    whole = Image.new("RGB", (3 * HEIGHT + 2 * GAP, HEIGHT), "white")
    for i, part in enumerate(parts):
        whole.paste(part, (i * (HEIGHT + GAP), 0))
    return whole


if __name__ == "__main__":
    main()
