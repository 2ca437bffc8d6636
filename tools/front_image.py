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

REPOSITORY = Path(__file__).resolve().parent.parent
OUTPUT = REPOSITORY / "docs" / "images" / "retina.jpg"
PRESET = "espmedsam_tic_native"
HEIGHT, GAP = 420, 8  # pixels


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    output = parser.parse_args().output
    photograph = data.retina()
    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(PRESET)
    mask = segmenter.segment(photograph, "fundus")["masks"]
    output.parent.mkdir(parents=True, exist_ok=True)
    side_by_side(photograph, mask).save(output, quality=85, optimize=True)
    print(f"Wrote {output}.")


def side_by_side(photograph, mask):
    """The photograph, its overlay and the mask alone, as one Pillow image."""
    white = np.repeat(np.where(mask, 255, 0).astype("uint8")[..., None], 3, axis=-1)
    parts = [photograph, kem.data.draw_overlay(photograph, mask), white]
    parts = [Image.fromarray(part).resize((HEIGHT, HEIGHT), Image.LANCZOS) for part in parts]
    whole = Image.new("RGB", (3 * HEIGHT + 2 * GAP, HEIGHT), "white")
    for i, part in enumerate(parts):
        whole.paste(part, (i * (HEIGHT + GAP), 0))
    return whole


if __name__ == "__main__":
    main()
