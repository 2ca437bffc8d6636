"""What MSA-Conv costs: against the unfolded form, per algorithm and backend, and with the size.

    python benchmarks/msa_conv.py --output docs/reports

Writes `msa_conv.md`, the plot `msa_conv_cost.png` and the raw numbers `msa_conv.json`. Every
measurement is a process of its own, so that its peak memory is its own and one backend is loaded.
A measurement that the JSON already holds is not repeated; delete the file to start again.
"""

import argparse
import json
import os
import pathlib
import platform
import resource
import subprocess
import sys
import time

import numpy as np

BACKENDS = ("torch", "jax", "tensorflow")
# Of the aim: 7 x 7 on (1, 256, 256, 64), forward and backward, against the unfolded form.
UNFOLD_CASES = [("unfold", 1), ("unfold", 8), ("auto", 1), ("auto", 4), ("auto", 8), ("auto", 64)]
CHOICE_SHAPE = (1, 64, 64, 64)
# Fewer where each case is traced or compiled first.
FEW_CASES = [(3, 1), (3, 16), (7, 1), (7, 16)]
CHOICE_CASES = {
    "torch": [(kernel, heads) for kernel in (3, 5, 7) for heads in (1, 4, 16, 32)],
    "jax": FEW_CASES,
    "tensorflow": FEW_CASES,
}
SIZES = (64, 128, 256, 512, 1024, 2048)
FITTED_FROM = 256
ONE_MINUTE = 60.0


# === One measurement, in a process of its own ===


def unfold_attention(q, k, v, kernel_size, num_heads):
    """The published validation's method: all windows of keys and values laid out by `unfold`."""
    import torch

    batch, height, width, channels = q.shape
    head_dim = channels // num_heads

    def windows(x):
        x = torch.nn.functional.unfold(x.permute(0, 3, 1, 2), kernel_size, padding=kernel_size // 2)
        return x.reshape(batch, num_heads, head_dim, kernel_size**2, height * width)

    queries = q.permute(0, 3, 1, 2).reshape(batch, num_heads, head_dim, 1, height * width)
    weights = ((queries * windows(k)).sum(2) * head_dim**-0.5).softmax(2)
    out = (weights[:, :, None] * windows(v)).sum(3)
    return out.reshape(batch, channels, height, width).permute(0, 2, 3, 1)


def programs(function):
    """A function of q, k, v compiled as the backend trains: forward, and with gradients."""
    import keras

    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        def forward(*arrays):
            with torch.no_grad():
                function(*arrays)

        def both(*arrays):
            arrays = [x.detach().requires_grad_() for x in arrays]
            function(*arrays).sum().backward()

    elif backend == "jax":
        import jax

        compiled = jax.jit(function)
        gradients = jax.jit(jax.grad(lambda *arrays: function(*arrays).sum(), (0, 1, 2)))

        def forward(*arrays):
            jax.block_until_ready(compiled(*arrays))

        def both(*arrays):
            jax.block_until_ready(gradients(*arrays))

    else:
        import tensorflow as tf

        @tf.function
        def gradients(*arrays):
            with tf.GradientTape() as tape:
                tape.watch(arrays)
                total = tf.reduce_sum(function(*arrays))
            return tape.gradient(total, arrays)

        compiled = tf.function(function)

        def forward(*arrays):
            compiled(*arrays).numpy()

        def both(*arrays):
            [x.numpy() for x in gradients(*arrays)]

    return forward, both


def measure(what, shape, kernel_size, num_heads, repeats, backward):
    """Best seconds of `repeats`, after one call to warm up, and the peak memory in MB."""
    import keras

    from keras_espmedsam.ops import msa_conv2d

    if what == "unfold":

        def function(q, k, v):
            return unfold_attention(q, k, v, kernel_size, num_heads)

    elif what == "global":

        def function(q, k, v):
            q, k, v = (
                keras.ops.reshape(x, (1, -1, num_heads, shape[-1] // num_heads)) for x in (q, k, v)
            )
            return keras.ops.dot_product_attention(q, k, v)

    else:

        def function(q, k, v):
            return msa_conv2d(q, k, v, kernel_size, num_heads=num_heads, algorithm=what)

    forward, both = programs(function)
    rng = np.random.default_rng(0)
    arrays = [
        keras.ops.convert_to_tensor(rng.normal(size=shape).astype("float32")) for _ in range(3)
    ]
    # The interpreter, the backend with what it loads when first used, and the inputs are not the
    # operator's.
    small = [x[:, :16, :16] for x in arrays]
    forward(*small)
    if backward:
        both(*small)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {}
    for name, program in (("forward", forward), ("both", both)):
        if name == "both" and not backward:
            continue
        seconds = []
        for i in range(repeats + 1):
            start = time.perf_counter()
            program(*arrays)
            seconds.append(time.perf_counter() - start)
            if i == 0 and seconds[0] > ONE_MINUTE / 2:
                break
        found[name] = min(seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {**found, "megabytes": (peak - before) / 1024}


def measure_choices():
    """Seconds of both algorithms for every window and number of heads, in this one process."""
    found = {}
    import keras

    for kernel, heads in CHOICE_CASES[keras.backend.backend()]:
        for algorithm in ("slices", "tiles"):
            entry = measure(algorithm, CHOICE_SHAPE, kernel, heads, 3, True)
            found[f"{algorithm} {kernel} {heads}"] = [entry["forward"], entry["both"]]
    return found


# === All of them ===


class Results:
    """Measurements by name, kept on disk."""

    def __init__(self, path):
        self.path = path
        self.entries = json.loads(path.read_text()) if path.exists() else {}

    def get(self, backend, what, shape, kernel_size, num_heads, repeats=3, backward=True):
        name = f"{backend} {what} {'x'.join(map(str, shape))} k{kernel_size} h{num_heads}"
        arguments = [what, shape, kernel_size, num_heads, repeats, backward]
        return self.run(name, backend, arguments)

    def run(self, name, backend, arguments):
        """The entry of this name, measured in a process of its own if it is not there."""
        if name not in self.entries:
            result = subprocess.run(
                [sys.executable, __file__, "--measure", json.dumps(arguments)],
                env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
                capture_output=True,
                text=True,
            )
            if result.returncode:
                raise SystemExit(f"{name} failed:\n{result.stderr[-2000:]}")
            self.entries[name] = json.loads(result.stdout.splitlines()[-1])
            temporary = self.path.with_suffix(".tmp")
            temporary.write_text(json.dumps(self.entries, indent=1) + "\n")
            temporary.replace(self.path)
            print(name, self.entries[name], flush=True)
        return self.entries[name]


def against_unfold(results):
    lines = [
        "| form | heads | time / unfold | memory / unfold |",
        "|---|---|---|---|",
    ]
    shape = (1, 256, 256, 64)
    measured = {case: results.get("torch", case[0], shape, 7, case[1]) for case in UNFOLD_CASES}
    base = measured["unfold", 1]
    for (what, heads), entry in measured.items():
        name = "unfold" if what == "unfold" else "`msa_conv2d`"
        depthwise = " (depthwise)" if heads == shape[-1] else ""
        lines.append(
            f"| {name} | {heads}{depthwise} | {entry['both'] / base['both']:.3f} | "
            f"{entry['megabytes'] / base['megabytes']:.3f} |"
        )
    lines.append("")
    lines.append(
        f"1 is the unfolded form with one head: {base['both']:.1f} s and "
        f"{base['megabytes']:,.0f} MB above the inputs."
    )
    return lines


def choices(results):
    lines = [
        "| backend | window | heads | slices / tiles, forward | with gradients | chosen |",
        "|---|---|---|---|---|---|",
    ]
    from keras_espmedsam.ops.msa_conv2d import choose_algorithm

    for backend in BACKENDS:
        seconds = results.run(f"{backend} choices", backend, [])
        for kernel, heads in CHOICE_CASES[backend]:
            slices, tiles = (seconds[f"{name} {kernel} {heads}"] for name in ("slices", "tiles"))
            ratios = " | ".join(f"{a / b:.2f}" for a, b in zip(slices, tiles, strict=True))
            chosen = choose_algorithm((kernel, kernel), CHOICE_SHAPE[-1] // heads, backend)
            lines.append(f"| {backend} | {kernel} x {kernel} | {heads} | {ratios} | {chosen} |")
    return lines


def growth(results, figure):
    """Seconds against pixels, beside global attention, and the fitted exponents."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = ["| pixels | " + " | ".join(f"{size}²" for size in SIZES) + " | exponent |"]
    lines.append("|---" * (len(SIZES) + 2) + "|")
    _, axes = pyplot.subplots(figsize=(6, 4))
    for what, name in (("auto", "MSA-Conv 7 x 7"), ("global", "global attention")):
        sizes, seconds = [], []
        for size in SIZES:
            if what == "global" and (size > 512 or (seconds and 16 * seconds[-1] > ONE_MINUTE)):
                break
            entry = results.get("torch", what, (1, size, size, 16), 7, 1, 3, backward=False)
            sizes.append(size)
            seconds.append(entry["forward"])
        pixels = np.square(sizes, dtype="float64")
        fitted = [i for i, size in enumerate(sizes) if size >= FITTED_FROM or what == "global"]
        exponent = np.polyfit(np.log(pixels[fitted]), np.log(np.array(seconds)[fitted]), 1)[0]
        axes.loglog(pixels, seconds, marker="o", label=f"{name}: pixels^{exponent:.2f}")
        relative = [f"{s / seconds[sizes.index(64)]:.1f}" for s in seconds]
        cells = " | ".join(relative + ["-"] * (len(SIZES) - len(sizes)))
        lines.append(f"| {name} | {cells} | {exponent:.2f} |")
    axes.set_xlabel("pixels")
    axes.set_ylabel("seconds, forward")
    axes.set_title("16 channels, one head, torch, CPU")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    pyplot.tight_layout()
    temporary = figure.with_name(f"{figure.stem}.tmp.png")
    pyplot.savefig(temporary, dpi=120)
    temporary.replace(figure)
    return lines


DOCUMENT = """\
# What MSA-Conv costs

    python benchmarks/msa_conv.py --output docs/reports

on {machine}; keras {keras}. Ratios within one run; seconds and memory of a machine are its own. The
raw numbers are in `msa_conv.json`.

## Against the unfolded form

7 x 7 window, (1, 256, 256, 64), forward and backward, torch. The unfolded form is the published
validation's method: all windows of keys and values are laid out in memory, 49 copies of each map.

{unfold}

## Slices or tiles

`msa_conv2d(algorithm="auto")` chooses by the numbers below, (1, 64, 64, 64): above 1 the tiles are
faster. *Tiles* multiply squares of 8 x 8 queries with all keys that any of them sees; *slices* go
through the window's offsets one by one. With a channel per head (depthwise) slices are always
chosen: a tile's matrix product would have nothing to multiply.

{choices}

## Growth with the size

Forward, 16 channels, relative to 64 x 64 pixels of the same form. The exponent of MSA-Conv is
fitted from 256 x 256 to 2048 x 2048; global attention stops before a point that would take more
than a minute.

{growth}

![Seconds against pixels](msa_conv_cost.png)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("docs/reports"))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        given = json.loads(arguments.measure)
        print(json.dumps(measure(*given) if given else measure_choices()))
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    results = Results(arguments.output / "msa_conv.json")
    unfold = against_unfold(results)
    grown = growth(results, arguments.output / "msa_conv_cost.png")
    chosen = choices(results)
    import keras

    text = DOCUMENT.format(
        machine=f"{platform.machine()}, {os.cpu_count()} CPU cores",
        keras=keras.__version__,
        unfold="\n".join(unfold),
        choices="\n".join(chosen),
        growth="\n".join(grown),
    )
    temporary = arguments.output / "msa_conv.tmp"
    temporary.write_text(text)
    temporary.replace(arguments.output / "msa_conv.md")
    print(text)


if __name__ == "__main__":
    main()
