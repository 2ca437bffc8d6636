"""Our forms of a layer beside Keras' own, which they equal, for a document of docs/reports each.

    python benchmarks/layer_forms.py upscaling --output docs/reports
    python benchmarks/layer_forms.py convolution --output docs/reports
    python benchmarks/layer_forms.py bilinear --output docs/reports

Time of a forward pass and of a training step of one layer, CPU seconds of one thread, on each
backend that is installed.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

BACKENDS = ("torch", "tensorflow", "jax")
REPEATS = 7


@dataclasses.dataclass(frozen=True)
class Forms:
    """Keras' layer and ours.

    Args:
        title: str.
        pair: what is divided by what.
        columns: what the numbers of a case are.
        cases: tuples of batch, side, channels and what `layers` takes.
        layers: callable to Keras' layer and ours.
    """

    title: str
    pair: str
    columns: str
    cases: tuple
    layers: callable


def _upscaling(filters):
    import keras

    from keras_espmedsam.layers import UpscalingConv2D

    return keras.layers.Conv2DTranspose(filters, 2, strides=2), UpscalingConv2D(filters)


def _bilinear(factor):
    import keras

    from keras_espmedsam.layers import BilinearUpsampling

    return keras.layers.UpSampling2D(factor, interpolation="bilinear"), BilinearUpsampling(factor)


def _convolution(filters, side, strides):
    import keras

    from keras_espmedsam.layers.convolution import Conv2D, DepthwiseConv2D

    pad = side // 2
    keras_options = dict(strides=strides, padding="same" if strides == 1 else "valid")
    if filters == 0:
        theirs = keras.layers.DepthwiseConv2D(side, **keras_options)
        ours = DepthwiseConv2D(side, strides=strides, pad=pad)
    else:
        theirs = keras.layers.Conv2D(filters, side, **keras_options)
        ours = Conv2D(filters, side, strides=strides, pad=pad)
    if strides > 1:
        theirs = keras.Sequential([keras.layers.ZeroPadding2D(pad), theirs])
    return theirs, ours


FORMS = {
    # Of the decoder of espmedsam_nano_256 at 256 x 256, and of the published one at 1024 x 1024.
    "upscaling": Forms(
        "Enlarging by a matrix product",
        "`UpscalingConv2D` over `keras.layers.Conv2DTranspose` of stride 2",
        "batch, side, channels, filters",
        ((16, 32, 96, 24), (16, 64, 24, 12), (16, 128, 12, 12), (1, 64, 256, 64), (1, 128, 64, 32)),
        _upscaling,
    ),
    # The same of their encoders; 0 filters: depthwise.
    "convolution": Forms(
        "Convolution in each backend's form",
        "`ops.convolution` over `keras.layers.Conv2D` and `DepthwiseConv2D`",
        "batch, side, channels, filters (0: depthwise), kernel, stride",
        (
            (16, 64, 24, 72, 1, 1),
            (16, 64, 72, 0, 3, 1),
            (16, 64, 64, 0, 3, 2),
            (16, 128, 12, 16, 3, 2),
            (1, 256, 64, 256, 1, 1),
            (1, 256, 256, 0, 3, 1),
            (1, 256, 128, 0, 3, 2),
            (1, 64, 256, 256, 3, 1),
        ),
        _convolution,
    ),
    # Of the neck of espmedsam_nano_256, and of masks at 1024 x 1024: one, and all seven.
    "bilinear": Forms(
        "Bilinear enlargement",
        '`BilinearUpsampling` over `keras.layers.UpSampling2D(interpolation="bilinear")`',
        "batch, side, channels, factor",
        ((16, 16, 96, 2), (16, 8, 96, 4), (1, 256, 1, 4), (1, 256, 7, 4)),
        _bilinear,
    ),
}


def measure(name, case):
    """Milliseconds by kind and pass, the two kinds in turn."""
    import keras
    import numpy as np

    batch, side, channels, *rest = case
    x = np.random.default_rng(0).normal(size=(batch, side, side, channels)).astype("float32")
    calls = {}
    for kind, layer in zip(("theirs", "ours"), FORMS[name].layers(*rest), strict=True):
        # As in a network, the gradient reaches what is before the layer.
        before = keras.layers.Dense(channels)
        model = keras.Sequential([keras.Input(x.shape[1:]), before, layer])
        model.compile("sgd", "mse")
        y = np.zeros((batch, *model.output_shape[1:]), "float32")
        calls[kind, "forward"] = lambda model=model: model.predict_on_batch(x)
        calls[kind, "step"] = lambda model=model, y=y: model.train_on_batch(x, y)
    times = {key: [] for key in calls}
    for call in calls.values():
        call()
    for _ in range(REPEATS):
        for key, call in calls.items():
            begin = time.process_time()
            call()
            times[key].append(1000 * (time.process_time() - begin))
    medians = {key: statistics.median(values) for key, values in times.items()}
    return [medians["ours", what] / medians["theirs", what] for what in ("forward", "step")]


def in_own_process(backend, name, case):
    environment = {**os.environ, "KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1"}
    environment |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    environment |= {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    command = [sys.executable, __file__, name, "--measure", json.dumps(case)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("forms", choices=FORMS)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("docs/reports"))
    parser.add_argument("--measure", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.forms, arguments.measure)))
        return
    forms = FORMS[arguments.forms]
    lines = [
        f"# {forms.title}",
        "",
        f"    python benchmarks/layer_forms.py {arguments.forms} --output docs/reports",
        "",
        f"{forms.pair}, ratio of CPU times (below 1 ours is faster),",
        "with a dense layer before it so that its gradient is asked for; medians of",
        f"{REPEATS}, one thread, {platform.machine()}.",
        "",
        f"| backend | {forms.columns} | forward | training step |",
        "|---|---|---|---|",
    ]
    for backend in BACKENDS:
        if importlib.util.find_spec(backend) is None:
            continue
        for case in forms.cases:
            ratios = in_own_process(backend, arguments.forms, case)
            shown = ", ".join(map(str, case))
            lines.append(f"| {backend} | {shown} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
            print(lines[-1], flush=True)
    path = arguments.output / f"{arguments.forms}.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
