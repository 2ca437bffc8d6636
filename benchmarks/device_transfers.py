"""What a step makes a GPU wait for, counted without one: PyTorch's trips between host and device.

    python benchmarks/device_transfers.py [--before PATH] [--output docs/reports]

Every number or array that a step makes a tensor of is an upload, every tensor whose values it asks
for is a read; for each, the device waits for the host or the host for the device. They are counted
on the CPU, where neither costs anything: it is PyTorch's functions that are counted, whatever the
device. PATH is another version of this package, to compare with.
Writes docs/reports/device_transfers.md.
"""

import argparse
import collections
import itertools
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

PRESET = "espmedsam_nano_256"
# They make tensors of numbers, lists and arrays.
MAKERS = {
    torch.as_tensor,
    torch.asarray,
    torch.from_numpy,
    torch.tensor,
    torch.Tensor.new_tensor,
}
# They make tensors on the host where no device is named.
FACTORIES = {
    torch.arange,
    torch.empty,
    torch.eye,
    torch.full,
    torch.linspace,
    torch.ones,
    torch.rand,
    torch.randn,
    torch.zeros,
}
# They need values, or the number of those that are not zero, on the host.
READERS = {
    torch.allclose,
    torch.equal,
    torch.masked_select,
    torch.nonzero,
    torch.unique,
    torch.Tensor.__array__,
    torch.Tensor.__bool__,
    torch.Tensor.__float__,
    torch.Tensor.__index__,
    torch.Tensor.__int__,
    torch.Tensor.cpu,
    torch.Tensor.item,
    torch.Tensor.nonzero,
    torch.Tensor.numpy,
    torch.Tensor.tolist,
}
# What Keras does by itself in a step, whoever calls it.
OF_KERAS = ("metrics", "optimizers", "random", "trainers")


class Transfers(TorchFunctionMode):
    """Within it, PyTorch's functions that go between the host and a device are counted.

    Attributes:
        uploads, reads: `collections.Counter` by place: a file of `keras_espmedsam` and the line,
            or `"Keras: "` and a file and line of what Keras does by itself.
    """

    def __init__(self):
        super().__init__()
        self.uploads, self.reads = collections.Counter(), collections.Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if _uploads(func, args, kwargs):
            self.uploads[_place()] += 1
        if _reads(func, args, kwargs):
            self.reads[_place()] += 1
        if func is torch.Tensor.backward:
            # Written in Python: what it does would not be seen, since the mode is off in here.
            kwargs = dict(kwargs)
            kwargs["grad_tensors"] = kwargs.pop("gradient", None)
            with self:
                return torch.autograd.backward(args[0], **kwargs)
        return func(*args, **kwargs)


def _uploads(func, args, kwargs):
    if func in MAKERS:
        return not isinstance(args[0], torch.Tensor)
    if func in FACTORIES:
        return kwargs.get("device") is None
    if func is torch.where:
        # A number becomes a tensor on the host, which is then moved.
        return any(isinstance(value, bool | int | float) for value in args[1:])
    return any(isinstance(index, list | np.ndarray) for index in _indices(func, args))


def _reads(func, args, kwargs):
    if func is torch.where:
        return len(args) == 1
    if func is torch.full:
        return isinstance(kwargs.get("fill_value"), torch.Tensor)
    masks = (torch.bool, torch.uint8)
    return func in READERS or any(
        isinstance(index, torch.Tensor) and index.dtype in masks and index.ndim
        for index in _indices(func, args)
    )


def _indices(func, args):
    if func not in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
        return ()
    return args[1] if isinstance(args[1], tuple) else (args[1],)


def _place():
    """Who asked for it: the innermost file that is ours, or Keras' own affair."""
    frame = sys._getframe(2)
    while frame is not None:
        path = pathlib.PurePath(frame.f_code.co_filename).parts
        if "keras_espmedsam" in path:
            last = len(path) - 1 - path[::-1].index("keras_espmedsam")
            return f"{'/'.join(path[last + 1 :])}:{frame.f_lineno}"
        if "keras" in path and path[path.index("keras") + 2 :][:1] in [(one,) for one in OF_KERAS]:
            return f"Keras: {'/'.join(path[path.index('keras') + 2 :])}:{frame.f_lineno}"
        frame = frame.f_back
    return "Keras: elsewhere"


def counted(step, before=4):
    """The transfers of a function of no arguments that was called some times before.

    Args:
        step: called `before` times, so that what is made once is there, and once to be counted.
        before: int.

    Returns:
        `Transfers`.
    """
    for _ in range(before):
        step()
    with Transfers() as found:
        step()
    return found


# === What is counted for the document ===


def steps():
    """Pairs of a name and a function of one step, whose batch is on the device already."""
    import keras

    import keras_espmedsam as kem

    _as_on_a_gpu()

    def on_device(batch):
        return keras.tree.map_structure(keras.ops.convert_to_tensor, batch)

    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(PRESET)
    segmenter.compile(metrics={"masks": [kem.metrics.DiceScore(), kem.metrics.ForegroundIoU()]})
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 256, 256, 3), dtype="uint8")
    x = {"images": images, "modalities": np.array([3, 1])}
    masks = (images[..., :1] > 128).astype("float32")
    batch = on_device(segmenter.prepare_batch(x, masks))
    weighted = on_device(segmenter.prepare_batch(x, masks, np.ones_like(masks)))

    def function(model, kind):
        getattr(model, f"make_{kind}_function")()
        return getattr(model, f"{kind}_function")

    yield "a step of `fit`", lambda: function(segmenter, "train")([batch])
    yield "a step of `fit`, weights per pixel", lambda: function(segmenter, "train")([weighted])
    yield "a step of `evaluate`", lambda: function(segmenter, "test")([batch])
    # Of other values each time: a recorded model is tried out before it is trusted.
    inputs = itertools.cycle([({**batch[0], "images": k * batch[0]["images"]},) for k in (1, 2, 3)])
    yield "a step of `predict`", lambda: function(segmenter, "predict")([next(inputs)])
    single = itertools.cycle([*images, *images[:, ::-1]])
    yield (
        "`segment`, one image: two uploads are the image and its modality, two reads the results",
        lambda: segmenter.segment(next(single), "fundus"),
    )
    part = {"images": batch[0]["images"]}
    x = {"common": part, "domain": {**part, "modalities": batch[0]["modalities"]}}
    for phase in ("controllers", "common", "both", "joint"):
        teachers = {
            f"{stream}_teachers": kem.distillation.Teacher(_teacher(), "unit", name=stream)
            for stream in ("common", "domain")
        }
        distiller = kem.distillation.DecoupledDistiller(segmenter, phase=phase, **teachers)
        distiller.compile()
        labelled = (x, batch[1]) if phase == "joint" else (x,)
        yield (
            f'a step of distillation, phase `"{phase}"`',
            lambda model=distiller, data=labelled: function(model, "train")([data]),
        )


def _teacher():
    import keras

    image = keras.Input((None, None, 3))
    return keras.Model(image, keras.layers.Conv2D(64, 16, strides=16)(image))


def _as_on_a_gpu():
    """Let the optimiser leave on the device which modalities are present, as it does on a GPU.

    On a CPU, where nothing waits, it asks, so that it need not compute what is absent.
    """
    from keras_espmedsam.optimizers import DecoupledOptimizer

    optimizer = sys.modules[DecoupledOptimizer.__module__]
    if hasattr(optimizer, "_can_be_read"):
        optimizer._can_be_read = lambda tensor: False


def measure():
    """dict of step to the numbers of uploads and reads, ours and Keras' own."""
    results = {}
    for name, step in steps():
        found = counted(step)
        results[name] = {
            f"{kind} {who}": sum(
                n for place, n in counter.items() if place.startswith("Keras:") == (who == "Keras")
            )
            for kind, counter in (("uploads", found.uploads), ("reads", found.reads))
            for who in ("ours", "Keras")
        }
        print(name, dict(found.uploads), dict(found.reads), file=sys.stderr)
    return results


DOCUMENT = """\
# Trips between host and device

    python benchmarks/device_transfers.py{before}

On PyTorch, which runs operation by operation, each of them makes a GPU wait for the host or the
host for the GPU. Counted in one step of `{preset}`, batch 2, after the first
ones; the batch itself is uploaded before.{against}

Keras' own are the mean that it keeps of every loss (the number of values, and what an empty mean
is) and its optimisers' counts of steps. After each batch Keras also reads all losses and metrics
for its callbacks; layers with dropout read the state of their seed.

On JAX a step is one compiled program, which `tests/models/test_device_transfers.py` runs under
`jax.transfer_guard("disallow")`. On TensorFlow it is a graph, of which constants are a part.

| step | uploads | reads | of Keras itself |
|---|---|---|---|
"""


def document(now, before, path):
    def cell(name, key):
        value = str(now[name][key])
        return f"{before[name][key]} → {value}" if before else value

    text = DOCUMENT.format(
        preset=PRESET,
        before=" --before PATH" if before else "",
        against=" Before and after." if before else "",
    )
    for name in now:
        ours = f"{cell(name, 'uploads ours')} | {cell(name, 'reads ours')}"
        keras = f"{cell(name, 'uploads Keras')} uploads, {cell(name, 'reads Keras')} reads"
        text += f"| {name} | {ours} | {keras} |\n"
    path.write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--before", type=pathlib.Path, help="another version of the package")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("docs/reports"))
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure()))
        return

    def in_own_process(path=None):
        environment = {**os.environ, "KERAS_BACKEND": "torch", "TF_CPP_MIN_LOG_LEVEL": "3"}
        if path is not None:
            environment["PYTHONPATH"] = str(path)
        command = [sys.executable, __file__, "--measure"]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    before = in_own_process(arguments.before) if arguments.before else None
    document(in_own_process(), before, arguments.output / "device_transfers.md")


if __name__ == "__main__":
    main()
