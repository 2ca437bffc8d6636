"""The first step of training, and those after it, as someone meets them who opens a notebook.

    python benchmarks/first_step.py --before TREE    # a checkout of the code to compare with
    python benchmarks/first_step.py --backends torch --modalities 6

`fit` of espmedsam_nano_256 on eight images in batches of four, with all that the first call needs,
nothing of which is kept from one run to the next. Each run is a process of its own; before and
after follow on each other, so that what else the machine does falls on both. Beside the time that
passed stands the time that the processors worked, of which other programs take no part. Memory is
the most that a process had above the loaded model. Results go to docs/reports/first_step.json run
by run, the table to docs/reports/first_step.md.
"""

import argparse
import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs" / "reports"
BACKENDS = ("torch", "tensorflow", "jax")
PASSES = 5


def serve(modalities, size):
    """In a process of its own: one pass over the images, then some more; prints what they took."""
    import keras

    import keras_espmedsam as kem

    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset("espmedsam_nano_256")
    while len(segmenter.modalities) < modalities:
        name = f"more_{len(segmenter.modalities)}"
        segmenter = segmenter.add_modality(name, init_from="fundus", freeze=False)
    segmenter.compile()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, size, size, 3), dtype="uint8")
    masks = (rng.random((8, size, size, 1)) > 0.5).astype("float32")
    inputs = {"images": images, "modalities": np.arange(8) % modalities}
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    marks = []

    class Marks(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            marks.append((time.perf_counter(), time.process_time()))

    def fit():
        marks[:] = [(time.perf_counter(), time.process_time())]
        segmenter.fit(inputs, masks, batch_size=4, verbose=0, shuffle=False, callbacks=[Marks()])
        return [[b - a for a, b in zip(*pair, strict=True)] for pair in itertools.pairwise(marks)]

    first = fit()[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    # The second batch of a pass waits for no data and no callbacks of the beginning.
    later = [fit()[1] for _ in range(PASSES)]
    print(
        json.dumps(
            {
                "first": first,
                "later": [statistics.median(times) for times in zip(*later, strict=True)],
                "megabytes": peak / 2**20,
            }
        )
    )


def measure(tree, backend, modalities):
    """What one process tells, or how it failed."""
    done = subprocess.run(
        [sys.executable, __file__, "--serve", str(modalities)],
        env={
            **os.environ,
            "PYTHONPATH": str(tree),
            "KERAS_BACKEND": backend,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "OMP_WAIT_POLICY": "PASSIVE",
            "JAX_ENABLE_COMPILATION_CACHE": "false",
        },
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["?"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def write_table(results):
    """docs/reports/first_step.md from what was measured."""
    rows = [
        "| backend | modalities | code | first step, s | of the processors, s | later step, s "
        "| of the processors, s | memory, MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in results["runs"].items():
        cells = " | ".join(name.split("/"))
        if "failed" in one:
            rows.append(f"| {cells} | {one['failed']} | | | | |")
            continue
        rows.append(
            f"| {cells} | {one['first'][0]:.1f} | {one['first'][1]:.1f} | {one['later'][0]:.2f} "
            f"| {one['later'][1]:.2f} | {one['megabytes']:.0f} |"
        )
    (DOCS / "first_step.md").write_text(
        DOCUMENT.format(machine=results["machine"]) + "\n".join(rows) + "\n", encoding="utf-8"
    )


DOCUMENT = """\
# The first step of training

Written by `benchmarks/first_step.py`, which says how: `fit` of espmedsam_nano_256 on eight images,
256 x 256, in batches of four, without a cache of compilations. {machine}. Where other programs run
beside it, compare the times that the processors worked.

    python benchmarks/first_step.py --before TREE

"Before" is the tree of the commit before the engine was changed, whose step was that of 0.1.0.

"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--before", type=Path, help="a tree with the code to compare with")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--modalities", nargs="+", type=int, default=(6, 12))
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, 256)
        return
    path = DOCS / "first_step.json"
    results = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    results["machine"] = f"{platform.machine()}, {os.cpu_count()} processors"
    trees = {"before": arguments.before, "after": ROOT}
    for modalities in arguments.modalities:
        for backend in arguments.backends:
            for code, tree in trees.items():
                if tree is None:
                    continue
                name = f"{backend}/{modalities}/{code}"
                results["runs"][name] = measure(tree, backend, modalities)
                print(name, results["runs"][name], flush=True)
                path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
                write_table(results)


if __name__ == "__main__":
    main()
