"""`UpscalingConv2D` beside the transposed convolution that it equals.

    python benchmarks/upscaling.py --output docs

Time of a forward pass and of a training step of one layer, CPU seconds of one thread, on each
backend that is installed; the sizes are those of the decoder of `espmedsam_nano_256` at
256 x 256, batch 16, and of the published one at 1024 x 1024, batch 1.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

SIZES = ((16, 32, 96, 24), (16, 64, 24, 12), (16, 128, 12, 12), (1, 64, 256, 64), (1, 128, 64, 32))
BACKENDS = ("torch", "tensorflow", "jax")
REPEATS = 7


def measure(size):
    """Milliseconds by kind and pass, the two kinds in turn."""
    import keras
    import numpy as np

    from keras_espmedsam.layers import UpscalingConv2D

    batch, side, channels, filters = size
    x = np.random.default_rng(0).normal(size=(batch, side, side, channels)).astype("float32")
    y = np.zeros((batch, 2 * side, 2 * side, filters), "float32")
    calls = {}
    for kind, layer in (
        ("transposed convolution", keras.layers.Conv2DTranspose(filters, 2, strides=2)),
        ("matrix product", UpscalingConv2D(filters)),
    ):
        # As in the decoder, the gradient reaches what is before the layer.
        before = keras.layers.Dense(channels)
        model = keras.Sequential([keras.Input(x.shape[1:]), before, layer])
        model.compile("sgd", "mse")
        calls[f"{kind}, forward"] = lambda model=model: model.predict_on_batch(x)
        calls[f"{kind}, step"] = lambda model=model: model.train_on_batch(x, y)
    times = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(REPEATS):
        for name, call in calls.items():
            begin = time.process_time()
            call()
            times[name].append(1000 * (time.process_time() - begin))
    return {name: statistics.median(values) for name, values in times.items()}


def in_own_process(backend, size):
    environment = {**os.environ, "KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1"}
    environment |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, __file__, "--measure", json.dumps(size)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("docs"))
    parser.add_argument("--measure", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    lines = [
        "# Enlarging by a matrix product",
        "",
        "    python benchmarks/upscaling.py --output docs",
        "",
        "`UpscalingConv2D` over `keras.layers.Conv2DTranspose` of stride 2, ratio of CPU times",
        "(below 1 the matrix product is faster), with a dense layer before it so that its gradient",
        f"is asked for; medians of {REPEATS}, one thread, {platform.machine()}.",
        "",
        "| backend | batch, side, channels, filters | forward | training step |",
        "|---|---|---|---|",
    ]
    for backend in BACKENDS:
        if importlib.util.find_spec(backend) is None:
            continue
        for size in SIZES:
            found = in_own_process(backend, size)
            ratios = [
                found[f"matrix product, {what}"] / found[f"transposed convolution, {what}"]
                for what in ("forward", "step")
            ]
            shown = ", ".join(map(str, size))
            lines.append(f"| {backend} | {shown} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
            print(lines[-1], flush=True)
    (arguments.output / "upscaling.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
