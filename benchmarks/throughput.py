"""Throughput of the published configuration on an accelerator, and its share of the peak.

    python benchmarks/throughput.py [--size 1024] [--batches 1 8 32] [--output docs/reports]

Images per second of the folded ESP-MedSAM with TinyViT-5M, image in and masks out, all on the
device, on torch and JAX in float32 and bfloat16. The peak is what a product of two square matrices
reaches in the same process, type and defaults. Each row is a process of its own. Writes
docs/reports/throughput.md. On a CPU it runs too, for a try: --size 64 --batches 1 --side 256.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

BACKENDS = ("torch", "jax")
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
REPEATS = 20
DOCUMENT = """\
# Throughput on {device}

    python benchmarks/throughput.py --size {size} --batches {batches}

Published configuration, folded, {size} x {size}: {gmac:.1f} GMAC an image. Medians of
{repeats}. The peak is that of a product of two {side} x {side} matrices in the same process and
type.

| backend | type | batch | images/s | TFLOP/s | share of the peak |
|---|---|---|---|---|---|
"""


def model(policy, size):
    import keras

    import keras_espmedsam as kem
    from keras_espmedsam.layers.conv_norm import folded_norms

    keras.config.set_dtype_policy(POLICIES[policy])
    with folded_norms():
        encoder = kem.models.TinyViTBackbone(num_modalities=6, image_shape=(size, size, 3))
        return kem.models.ESPMedSAMBackbone(encoder)


def inputs(size, batch):
    import keras
    import numpy as np

    images = np.random.default_rng(0).normal(size=(batch, size, size, 3)).astype("float32")
    return {
        "images": keras.ops.convert_to_tensor(images),
        "modalities": keras.ops.convert_to_tensor(np.arange(batch, dtype="int32") % 6),
    }


def multiply_adds(size):
    """GMAC of one image, counted by torch on the CPU."""
    import keras
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with keras.device("cpu"), torch.no_grad():
        backbone, values = model("float32", size), inputs(size, 1)
        backbone.trainable = False
        with FlopCounterMode(display=False) as counter:
            backbone(values, training=False)
    return counter.get_total_flops() / 2e9


def measure(policy, size, batch, side):
    """Seconds of a batch and of a product of matrices, and the device's name."""
    import keras

    backbone, values = model(policy, size), inputs(size, batch)
    matrix = keras.ops.cast(keras.random.normal((side, side)), policy)
    if keras.config.backend() == "torch":
        import torch

        def synchronized(function):
            def run():
                with torch.inference_mode():
                    function()
                if torch.cuda.is_available():
                    torch.cuda.synchronize()

            return run

        forward = synchronized(lambda: backbone(values, training=False))
        product = synchronized(lambda: torch.matmul(matrix, matrix))
        cuda = torch.cuda.is_available()
        device = torch.cuda.get_device_name() if cuda else "CPU"
    else:
        import jax

        state = [
            [variable.value for variable in variables]
            for variables in (backbone.trainable_variables, backbone.non_trainable_variables)
        ]
        compiled = jax.jit(lambda t, n, x: backbone.stateless_call(t, n, x, training=False)[0])
        multiply = jax.jit(jax.numpy.matmul)
        forward = lambda: jax.block_until_ready(compiled(*state, values))  # noqa: E731
        product = lambda: jax.block_until_ready(multiply(matrix, matrix))  # noqa: E731
        device = jax.devices()[0].device_kind
    return {"seconds": _median(forward), "product": _median(product), "device": device}


def _median(function):
    times = []
    for i in range(REPEATS + 3):
        begin = time.perf_counter()
        function()
        if i >= 3:
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def in_own_process(backend, *arguments):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    # Or JAX takes three quarters of the memory, also from what is measured next.
    environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    command = [sys.executable, __file__, "--serve", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["?"])[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--side", type=int, default=8192, help="of the matrices")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("docs/reports"))
    parser.add_argument("--serve", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        what, *rest = arguments.serve
        if what == "count":
            print(json.dumps(multiply_adds(int(rest[0]))))
        else:
            print(json.dumps(measure(what, *map(int, rest))))
        return
    size, side = arguments.size, arguments.side
    gmac = in_own_process("torch", "count", size)
    if isinstance(gmac, dict):
        raise SystemExit(f"The multiply-adds could not be counted: {gmac['failed']}")
    rows, device = "", "?"
    for backend in BACKENDS:
        for policy in POLICIES:
            for batch in arguments.batches:
                found = in_own_process(backend, policy, size, batch, side)
                if "failed" in found:
                    row = f"| {backend} | {policy} | {batch} | {found['failed']} | | |"
                else:
                    device = found["device"]
                    speed = 2e9 * gmac * batch / found["seconds"]
                    share = speed / (2 * side**3 / found["product"])
                    row = f"| {backend} | {policy} | {batch} | {batch / found['seconds']:.1f} "
                    row += f"| {speed / 1e12:.2f} | {share:.2f} |"
                print(row, flush=True)
                rows += row + "\n"
    text = DOCUMENT.format(
        device=device,
        size=size,
        batches=" ".join(map(str, arguments.batches)),
        gmac=gmac,
        repeats=REPEATS,
        side=side,
    )
    (arguments.output / "throughput.md").write_text(text + rows, encoding="utf-8")


if __name__ == "__main__":
    main()
