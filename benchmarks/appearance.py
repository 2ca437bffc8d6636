"""Time each change of appearance on one image.

    OMP_NUM_THREADS=1 python benchmarks/appearance.py --page docs/reports/appearance.md

The image and its partner are made by the script: noise on smooth colours, which takes as long as a
photograph. What is given is processor time of one thread, the shortest of many passes: other
programs do not count.
"""

import argparse
import os
import pathlib
import platform
import time

import numpy as np
from PIL import Image

from keras_espmedsam.data import atomic_path
from keras_espmedsam.training import Augmentation, make_appearance
from keras_espmedsam.training.data.appearance.make_appearance import STANDARD


def make_image(size, seed):
    """A colour image, smooth with some noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3)).astype("uint8"))
    smooth = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), int)
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype("uint8")


def milliseconds(call, passes):
    """The shortest processor time of a call."""
    found = []
    for _ in range(passes):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return 1000 * min(found)


def measure(size, passes):
    """Return dict of what is timed to milliseconds."""
    image, partner = make_image(size, 0), make_image(size, 1)
    mask, rng = image[..., 0] > 128, np.random.default_rng(0)
    found = {}
    for name in STANDARD:
        (transform,) = make_appearance({name: 1.0})
        found[name] = milliseconds(lambda t=transform: t(image, rng, lambda _: partner), passes)
    plain = Augmentation()
    found["flips, rotation, scale, colour: the augmentation itself"] = milliseconds(
        lambda: plain(image, mask, rng), passes
    )
    return found


def page(found, size, passes):
    """Return the report, in Markdown."""
    rows = "".join(f"| {name} | {value:.1f} |\n" for name, value in found.items())
    usual = sum(t.probability * found[n] for n, t in zip(STANDARD, made(), strict=True))
    return (
        "# Cost of changes of appearance\n\n"
        f"Written by `benchmarks/appearance.py`: processor time of one {size} x {size} image, the "
        f"shortest of {passes} passes,\non {platform.machine()}, one of {os.cpu_count()} CPU "
        "cores. Each transform with its usual strength, applied to every image.\n\n"
        f"| | ms |\n|---|---|\n{rows}\n"
        f"`appearance: standard` applies each to a part of the images, and takes {usual:.1f} ms of "
        f"an image on average, {12 * usual / 1000:.2f} s of a batch of 12.\n\n"
        "## How\n\n    OMP_NUM_THREADS=1 python benchmarks/appearance.py --page "
        "docs/reports/appearance.md\n"
    )


def made():
    """The transforms of `standard`, in the order of their names there."""
    return [make_appearance({name: {}})[0] for name in STANDARD]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--passes", type=int, default=100)
    parser.add_argument("--page", type=pathlib.Path, help="write the report here; else print it")
    given = parser.parse_args()
    text = page(measure(given.size, given.passes), given.size, given.passes)
    if given.page is None:
        print(text)
    else:
        with atomic_path(given.page) as temporary:
            temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
