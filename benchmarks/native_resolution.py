"""A photograph of 1411 x 1411 segmented whole, and rescaled to a model of fixed size.

    KERAS_BACKEND=torch python benchmarks/native_resolution.py --output docs/reports

Segments scikit-image's fundus photograph with a preset that takes images at their own size and
with one that rescales them; prints a table of peak memory and time, and writes it to
`native_resolution.md` in the output folder, with both overlays in one image. Each preset has a
process of its own, whose peak tells what it took; the first call, which may compile, is not timed.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

MIB = 2**20
# Side of each overlay in the document, in pixels.
SHOWN = 620

DOCUMENT = """\
# One photograph at its own resolution

    KERAS_BACKEND={backend} python benchmarks/native_resolution.py --output docs/reports

scikit-image's fundus photograph, 1411 x 1411 (public domain), segmented whole by a TiC encoder, and
by the fixed-size model with rescaling to its canvas and back. {machine}; keras {keras}; median of
{repeats} after a first call. The ratio is of the first to the second.

{table}

How well both do on the labelled data is in the card of
[`espmedsam_tic_native`](../../presets/espmedsam_tic_native/README.md).

![{names}](native_overlays.jpg)

Left `{left}`, right `{right}`.
"""


def peak_memory():
    """Highest resident memory of this process so far, in bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure(preset, overlay, repeats):
    """Segment the photograph in this process; gives the figures and writes the overlay."""
    import keras
    from skimage import data

    import keras_espmedsam as kem
    from keras_espmedsam.data import write_overlay

    image = data.retina()
    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(preset)
    before = peak_memory()
    mask = segmenter.segment(image, "fundus")["masks"]
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        segmenter.segment(image, "fundus")
        seconds.append(time.perf_counter() - start)
    peak = peak_memory()
    write_overlay(overlay, image, mask)
    return {
        "canvas": segmenter.preprocessor.image_converter.place(image.shape[:2]).canvas,
        "peak": peak,
        "rise": peak - before,
        "seconds": statistics.median(seconds),
        "foreground": float(mask.mean()),
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
    }


def in_own_process(preset, overlay, repeats):
    """`measure` in a fresh process, since a peak never falls again.

    The parent imports nothing large: on Linux a child begins with its parent's peak.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = pathlib.Path(folder) / "result.json"
        command = [sys.executable, __file__, "--preset", preset, "--repeats", str(repeats)]
        subprocess.run([*command, "--measure", str(result), "--output", str(overlay)], check=True)
        return json.loads(result.read_text(encoding="utf-8"))


def table(rows):
    """Markdown: one row per preset, and the first over the second."""
    lines = [
        "| preset | canvas | peak memory, MiB | of it for segmenting, MiB | time, s | foreground |",
        "|---|---|---|---|---|---|",
    ]
    for preset, row in rows.items():
        height, width = row["canvas"]
        lines.append(
            f"| {preset} | {height} x {width} | {row['peak'] / MIB:.0f} | {row['rise'] / MIB:.0f} "
            f"| {row['seconds']:.2f} | {100 * row['foreground']:.1f} % |"
        )
    native, fixed = rows.values()
    peak, rise, seconds = (native[n] / fixed[n] for n in ("peak", "rise", "seconds"))
    pixels = native["canvas"][0] * native["canvas"][1] / fixed["canvas"][0] / fixed["canvas"][1]
    lines.append(f"| ratio | {pixels:.1f} | {peak:.2f} | {rise:.2f} | {seconds:.1f} | |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="espmedsam_tic_native", help="name or folder")
    parser.add_argument("--fixed", default="espmedsam_nano_256@1", help="name or folder")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("docs/reports"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        result = measure(arguments.preset, arguments.output, arguments.repeats)
        arguments.measure.write_text(json.dumps(result), encoding="utf-8")
        return
    if pathlib.Path(arguments.preset).name == pathlib.Path(arguments.fixed).name:
        parser.error(f"--preset and --fixed are both named {arguments.preset}; compare two presets")
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        overlays = []
        for preset in (arguments.preset, arguments.fixed):
            name = pathlib.Path(preset).name
            overlays.append(pathlib.Path(folder) / f"{name}.png")
            rows[name] = in_own_process(preset, overlays[-1], arguments.repeats)
        write_side_by_side(overlays, arguments.output / "native_overlays.jpg")
    some = next(iter(rows.values()))
    left, right = rows
    text = DOCUMENT.format(
        backend=some["backend"],
        keras=some["keras"],
        machine=f"{platform.machine()}, {os.cpu_count()} CPU cores",
        repeats=arguments.repeats,
        table=table(rows),
        names=f"Overlays of {left} and {right}",
        left=left,
        right=right,
    )
    print(text)
    (arguments.output / "native_resolution.md").write_text(text, encoding="utf-8")


def write_side_by_side(overlays, path):
    """Both overlays, reduced, in one JPEG."""
    from PIL import Image

    both = Image.new("RGB", (2 * SHOWN + 10, SHOWN), "white")
    for i, overlay in enumerate(overlays):
        both.paste(Image.open(overlay).convert("RGB").resize((SHOWN, SHOWN)), (i * (SHOWN + 10), 0))
    both.save(path, quality=85)


if __name__ == "__main__":
    main()
