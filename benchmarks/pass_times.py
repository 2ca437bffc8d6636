"""CPU time of a pass with and without what says how far to trust it.

    KERAS_BACKEND=tensorflow OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 \\
        python benchmarks/pass_times.py --output runs/pass_times.json
    KERAS_BACKEND=torch OMP_NUM_THREADS=1 \\
        python benchmarks/pass_times.py --output runs/pass_times.json

A pass of one image by `espmedsam_nano_256` without a predicted quality and a scope, with each of
them, and with both, and one by the recogniser of modalities, in turn and several times over. Each
run adds its backend to the file, which `benchmarks/trust.py` and `benchmarks/scope.py` show. It is
the time of the processor, since other programs run beside it.
"""

import argparse
import json
import os
import pathlib
import platform
import time

import numpy as np
from interleaved import medians
from report_pages import table

from keras_espmedsam.data import atomic_path

PRESET = "espmedsam_nano_256"
PASSES = ("neither", "quality", "scope", "both", "recogniser")


def calls(segmenter, recognizer):
    """dict of `PASSES` to functions that make one."""
    image = np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype="uint8")
    batch = segmenter.image_converter.convert(image)[None], np.zeros(1, "int32")
    small = recognizer.image_converter.convert(image)[None]
    plain = segmenter.with_quality(None).with_scope(None)
    able = {
        "quality": plain.with_quality(segmenter.quality),
        "scope": plain.with_scope(segmenter.scope),
        "both": segmenter,
    }
    return {
        "neither": lambda: plain.predict_probabilities(*batch),
        **{name: (lambda own=own: own.predict_outputs(*batch)) for name, own in able.items()},
        "recogniser": lambda: recognizer.predict_class_probabilities(small),
    }


def measured(segmenter, recognizer, repeats, rounds):
    """dict of `PASSES` to the median milliseconds of each repeat."""
    made = calls(segmenter, recognizer)
    medians(list(made.values()), 4, time.process_time)  # The first calls compile and record.
    found = [medians(list(made.values()), rounds, time.process_time) for _ in range(repeats)]
    return {name: [1000 * one[number] for one in found] for number, name in enumerate(made)}


def more(milliseconds, name):
    """How much longer a pass takes than one with neither: the median of the repeats, and all."""
    shares = [
        with_it / without - 1
        for with_it, without in zip(milliseconds[name], milliseconds["neither"], strict=True)
    ]
    return float(np.median(shares)), min(shares), max(shares)


def times_table(times):
    """Markdown of what the runs found.

    Args:
        times: dict of backend to what a run wrote.
    """
    rows = []
    for backend, one in times.items():
        found = one["milliseconds"]
        cells = [f"{np.median(found['neither']):.0f} ms"]
        for name in ("quality", "scope", "both"):
            cells.append("{:+.1%} ({:+.1%} to {:+.1%})".format(*more(found, name)))
        part = np.median(found["recogniser"]) / np.median(found["neither"])
        rows.append([backend, *cells, f"{np.median(found['recogniser']):.0f} ms ({part:.0%})"])
    header = ["backend", "neither", "with quality", "with scope", "with both", "the recogniser"]
    return table(header, rows)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/pass_times.json"))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args(arguments)
    import keras

    from keras_espmedsam.inference.load_models import load_recognizer
    from keras_espmedsam.models import ESPMedSAMImageSegmenter

    segmenter = ESPMedSAMImageSegmenter.from_preset(PRESET)
    found = {
        "machine": f"{platform.machine()}, one of {os.cpu_count()} cores",
        "date": time.strftime("%Y-%m-%d"),
        "milliseconds": measured(segmenter, load_recognizer(None), given.repeats, given.rounds),
    }
    known = json.loads(given.output.read_text(encoding="utf-8")) if given.output.exists() else {}
    with atomic_path(given.output) as temporary:
        text = json.dumps({**known, keras.backend.backend(): found}, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
