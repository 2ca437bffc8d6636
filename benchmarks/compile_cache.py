"""What JAX's kept compilations spare a second process: the first step of training.

    python benchmarks/compile_cache.py [--rounds 2]

Each row is a process of its own, which calls `fit` of espmedsam_nano_256 with eight images in
batches of four: keeping nothing, writing to a new folder, and finding that folder full. They take
turns, so that what else the machine does falls on all of them alike. Times are ratios to the first
row. Results go to docs/reports/compile_cache.json and docs/reports/compile_cache.md.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs" / "reports"
ROWS = {"nothing kept": "off", "a new folder": "new", "the same folder again": "new"}


def fit(folder):
    """In a process of its own: seconds and processor seconds to the first result, memory, loss."""
    import keras
    import numpy as np

    import keras_espmedsam as kem

    kem.compile_cache(folder)

    class Steps(keras.callbacks.Callback):
        ends = []

        def on_train_batch_end(self, batch, logs=None):
            self.ends.append((time.perf_counter(), time.process_time()))

    keras.utils.set_random_seed(0)
    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset("espmedsam_nano_256")
    segmenter.compile()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 256, 256, 3), dtype="uint8")
    masks = rng.integers(0, 2, (8, 256, 256), dtype="uint8")
    begin = time.perf_counter(), time.process_time()
    history = segmenter.fit(
        {"images": images, "modalities": ["fundus", "xray"] * 4},
        masks,
        batch_size=4,
        shuffle=False,
        verbose=0,
        callbacks=[Steps()],
    )
    found = {
        "seconds": Steps.ends[0][0] - begin[0],
        "processor": Steps.ends[0][1] - begin[1],
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "loss": history.history["loss"][-1],
    }
    print(json.dumps(found))


def run(folder):
    done = subprocess.run(
        [sys.executable, __file__, "--fit", str(folder)],
        env={**os.environ, "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def measure(rounds):
    runs = {name: [] for name in ROWS}
    sizes = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name, where in ROWS.items():
                runs[name].append(run(folder if where == "new" else "off"))
                print(f"{name}: {runs[name][-1]}", flush=True)
            sizes.append(sum(file.stat().st_size for file in Path(folder).iterdir()))
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
        "rounds": rounds,
        "folder_bytes": statistics.median(sizes),
        "runs": runs,
    }


def write_table(result):
    runs = {
        name: {key: statistics.median(one[key] for one in ones) for key in ones[0]}
        for name, ones in result["runs"].items()
    }
    first = next(iter(runs.values()))
    rows = [
        f"| {name} | "
        + " | ".join(
            f"{one[key] / first[key]:.2f}" for key in ("seconds", "processor", "megabytes")
        )
        + " |"
        for name, one in runs.items()
    ]
    losses = {one["loss"] for ones in result["runs"].values() for one in ones}
    text = DOCUMENT.format(
        table="\n".join(rows),
        size=result["folder_bytes"] / 2**20,
        rounds=result["rounds"],
        machine=result["machine"],
        losses="the same, bit for bit" if len(losses) == 1 else "not the same",
    )
    (DOCS / "compile_cache.md").write_text(text, encoding="utf-8")


DOCUMENT = """\
# What is compiled, and what is kept of it

JAX and TensorFlow compile the first step of `fit`, `evaluate`, `predict` and `segment` for each
shape of a batch; PyTorch compiles nothing here. If a first step of `fit`, `evaluate` or `predict`
takes more than five seconds, a line above Keras' bar says why (not with `verbose=0`); so do
`espmedsam segment` and `evaluate`.

**JAX** can keep what it has compiled, so that the next process only has to trace the model. All
commands do it, in `keras-espmedsam/jax` in your cache (`XDG_CACHE_HOME`, or `~/.cache`), and say so
when they make the folder; `--compile-cache DIR` keeps it elsewhere and `--compile-cache off`
nowhere. In a notebook or a script it is one line, before or after JAX is imported:

```python
import keras_espmedsam as kem

kem.compile_cache()  # or compile_cache("my_folder")
```

- The folder holds at most 2 GiB when a process begins: what was used longest ago is removed.
- A file that a killed process or a full disk left half written is no error: JAX compiles again,
  and a later process removes the file.
- Several processes may share the folder. What is in it is run, so only you should be able to write
  to it; the commands make it so.
- A folder that was asked for and cannot be written to is refused. Where the folder in your cache
  cannot be written to, a command says so and goes on without.
- JAX's own settings are respected: with `JAX_COMPILATION_CACHE_DIR` set, and no option given, the
  commands change nothing (empty, it keeps nothing).
- What is found again does not depend on the path of the program or of the data, but on the model,
  the shapes, the optimiser with its numbers, the versions of JAX and XLA, and the processor.

**TensorFlow** keeps nothing between processes on a CPU, and `compile_cache` says so.

## Measured

`fit` of espmedsam_nano_256 with eight images of 256 x 256 in batches of four, on JAX; each a
process of its own, rounds of them in turn ({rounds}), medians as ratios to the first row.
{machine}. The folder holds {size:.1f} MiB. The losses are {losses}.

    python benchmarks/compile_cache.py

| | time to the first result | processor time | largest memory |
|---|---|---|---|
{table}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--fit", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fit:
        fit(arguments.fit)
        return
    result = measure(arguments.rounds)
    (DOCS / "compile_cache.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    write_table(result)


if __name__ == "__main__":
    main()
