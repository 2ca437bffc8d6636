"""How fast, and in how much memory: ours on each backend and exported, against what others run.

    python benchmarks/speed.py [WORK ...]        # those of WORKS; all where none is named
    python benchmarks/speed.py --list

Each system is a process of its own. Within a work all of them are loaded, then asked for one run
each in turn, REPEATS times, so that what else the machine does falls on all of them alike. Figures
are medians, and ratios to the work's first system; works of one core count CPU time, which other
programs disturb little. Memory is the largest that a process had, less what it had before its first
run. Results go to docs/reports/performance.json work by work, the
table to docs/reports/performance.md. Peers need `pip install timm`.
"""

import argparse
import dataclasses
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

DOCS = Path(__file__).resolve().parents[1] / "docs" / "reports"
REPEATS = 7
BACKENDS = ("torch", "tensorflow", "jax")
FORMATS = ("onnx", "openvino", "tflite")
NANO = "espmedsam_nano_256"


@dataclasses.dataclass(frozen=True)
class Work:
    """What is timed.

    Args:
        title: str.
        size: int. Side of the images in pixels.
        batch: int.
        systems: tuple of names, `FUNCTION` or `FUNCTION:ARGUMENT`; the first is what the others
            are compared with.
        aims: dict of system to the ratio that was aimed at.
        one_core: bool. Whether CPU time on one core is measured, not time that passes.
    """

    title: str
    size: int
    batch: int
    systems: tuple
    aims: dict = dataclasses.field(default_factory=dict)
    one_core: bool = False


def _of(name, arguments):
    return tuple(f"{name}:{argument}" for argument in arguments)


def _versions(backend):
    return tuple(f"{name}:{backend}" for name in ("nano_1", "nano", "nano_xray", "nano_fundus"))


WORKS = {
    "encoder": Work(
        "TinyViT-5M and neck, without controllers",
        1024,
        1,
        (
            "timm",
            "timm_compiled",
            *_of("encoder", BACKENDS),
            *_of("folded_encoder", BACKENDS),
            *_of("exported_encoder", FORMATS),
        ),
        {
            "folded_encoder:torch": 0.9,
            "folded_encoder:tensorflow": 1.0,
            "folded_encoder:jax": 1.0,
            **dict.fromkeys(_of("exported_encoder", FORMATS), 0.5),
        },
    ),
    "whole": Work(
        "The whole model of one modality: encoder, controller and decoder",
        1024,
        1,
        ("timm_controlled", *_of("whole", BACKENDS), *_of("folded_whole", BACKENDS)),
        dict.fromkeys(_of("folded_whole", BACKENDS), 0.4),
    ),
    "encoder_batch": Work(
        "TinyViT-5M and neck, four images",
        1024,
        4,
        ("timm", *_of("folded_encoder", BACKENDS), *_of("exported_encoder", ("onnx", "openvino"))),
    ),
    "peers": Work("Encoders that others run", 1024, 1, ("timm", "sam_base", "unet")),
    "controllers": Work(
        "Controllers: TinyViT-5M and neck of six modalities",
        1024,
        1,
        (
            "folded_encoder:torch",
            "controlled_encoder:torch",
            "folded_encoder:tensorflow",
            "controlled_encoder:tensorflow",
        ),
    ),
    **{
        f"decoding_{backend}": Work(
            f"Decoding, on {backend}",
            1024,
            1,
            (f"encode:{backend}", f"decode:{backend}", f"decode_all:{backend}"),
            {f"decode:{backend}": 0.1},
        )
        for backend in BACKENDS
    },
    **{
        f"mixed_{backend}": Work(
            f"A batch of several modalities, on {backend}",
            512,
            4,
            (f"one_modality:{backend}", f"mixed:{backend}"),
            {f"mixed:{backend}": 1.1},
        )
        for backend in BACKENDS
    },
    "nano": Work(
        "espmedsam_nano_256, image to mask",
        256,
        1,
        (
            *_of("nano", BACKENDS),
            *_of("folded_nano", BACKENDS),
            *_of("predict", BACKENDS),
            *_of("exported_nano", FORMATS),
        ),
    ),
    **{
        f"versions_{backend}": Work(
            f"espmedsam_nano_256 beside its version 1, on one core, {backend}",
            256,
            1,
            _versions(backend),
            {f"nano:{backend}": 1.2},
            one_core=True,
        )
        for backend in BACKENDS
    },
    "precision": Work(
        "espmedsam_nano_256 computed in float32 and in bfloat16, eight images",
        256,
        8,
        (
            *(f"{name}:{one}" for one in BACKENDS for name in ("nano", "nano_bfloat16")),
            *_of("exported_nano", ("openvino",)),
            *_of("exported_nano_bfloat16", ("openvino",)),
        ),
    ),
    **{
        f"precision_1024_{one}": Work(
            f"The published configuration in float32 and in bfloat16, {one}",
            1024,
            1,
            (f"published:{one}", f"published_bfloat16:{one}"),
        )
        for one in (*BACKENDS, "openvino")
    },
    "training": Work(
        "A training step of espmedsam_nano_256, eight images", 256, 8, _of("training", BACKENDS)
    ),
    "tic": Work(
        "tic_tiny_modality", 128, 1, (*_of("tic", BACKENDS), *_of("exported_tic", FORMATS))
    ),
    **{
        f"starting_{backend}": Work(
            f"One image by the command, on {backend}",
            512,
            1,
            (f"importing:{backend}", f"command:{backend}", f"command_auto:{backend}"),
            {f"command:{backend}": 2.0, f"command_auto:{backend}": 2.6},
        )
        for backend in BACKENDS
    },
}


# === The systems: each gives a function to be timed; imports are within, one backend a process ===


def _images(size, batch):
    values = np.random.default_rng(0).normal(size=(batch, size, size, 3))
    return values.astype("float32")


def timm(size, batch, _=None):
    return _timm(size, batch)


def timm_controlled(size, batch, _=None):
    """timm's encoder with the release's controllers; without decoder, a twentieth of the work."""
    return _timm(size, batch, _add_controller)


def _timm(size, batch, change=None):
    import torch
    from timm.layers import LayerNorm2d
    from timm.models import create_model

    body = create_model("tiny_vit_5m_224", num_classes=0)
    # As MobileSAM's and ours: the last merging keeps the size.
    body.stages[3].downsample.conv2.conv.stride = (1, 1)
    if change is not None:
        change(body)
    neck = torch.nn.Sequential(
        torch.nn.Conv2d(320, 256, 1, bias=False),
        LayerNorm2d(256),
        torch.nn.Conv2d(256, 256, 3, padding=1, bias=False),
        LayerNorm2d(256),
    )
    model = torch.nn.Sequential(body.patch_embed, body.stages, neck).eval()
    images = torch.from_numpy(_images(size, batch).transpose(0, 3, 1, 2).copy())
    return _without_gradient(model, images)


def _add_controller(body):
    """A token beside keys and values, an adapter beside the MLP, in the release's operations."""
    import torch

    class Attention(torch.nn.Module):
        def __init__(self, attention):
            super().__init__()
            self.attention = attention
            heads, width = attention.num_heads, attention.key_dim
            self.token = torch.nn.Parameter(torch.randn(1, heads, 1, width))
            self.token_bias = torch.nn.Parameter(torch.zeros(1, 1, 1))

        def forward(self, x):
            own, (windows, places, _) = self.attention, x.shape
            qkv = own.qkv(own.norm(x)).view(windows, places, own.num_heads, -1)
            q, k, v = (part.permute(0, 2, 1, 3) for part in qkv.split(own.key_dim, dim=3))
            token = self.token.expand(windows, -1, -1, -1)
            k, v = torch.cat([k, token], 2), torch.cat([v, token], 2)
            bias = own.get_attention_biases(x.device)
            bias = torch.cat([bias, self.token_bias.expand(*bias.shape[:2], 1)], 2)
            weights = (q @ k.transpose(-2, -1) * own.scale + bias).softmax(-1)
            return own.proj((weights @ v).transpose(1, 2).reshape(windows, places, -1))

    class Both(torch.nn.Module):
        def __init__(self, mlp, width):
            super().__init__()
            self.mlp = mlp
            self.adapter = torch.nn.Sequential(
                torch.nn.LayerNorm(width),
                torch.nn.Linear(width, 4 * width),
                torch.nn.GELU(),
                torch.nn.Linear(4 * width, width),
            )

        def forward(self, x):
            return self.mlp(x) + self.adapter(x)

    for stage in body.stages[1:]:
        for block in stage.blocks:
            block.attn, block.mlp = Attention(block.attn), Both(block.mlp, block.dim)


def timm_compiled(size, batch, _=None):
    import torch

    function = timm(size, batch)
    return _without_gradient(torch.compile(function.model), function.images)


def _without_gradient(model, images):
    import torch

    def run():
        with torch.inference_mode():
            return model(images)

    run.model, run.images = model, images
    return run


def _predicting(model, inputs):
    import keras

    return lambda: keras.Model.predict_on_batch(model, inputs)


def encoder(size, batch, _=None, num_modalities=0):
    import keras_espmedsam as kem

    model = kem.models.TinyViTBackbone(num_modalities=num_modalities, image_shape=(size, size, 3))
    inputs = _images(size, batch)
    if num_modalities:
        inputs = {"images": inputs, "modalities": np.zeros(batch, "int32")}
    return _predicting(model, inputs)


def folded_encoder(size, batch, _=None):
    from keras_espmedsam.layers.conv_norm import folded_norms

    with folded_norms():
        return encoder(size, batch)


def controlled_encoder(size, batch, _=None):
    from keras_espmedsam.layers.conv_norm import folded_norms

    with folded_norms():
        return encoder(size, batch, num_modalities=6)


def exported_encoder(size, batch, name):
    import tensorflow as tf
    import tf2onnx

    import keras_espmedsam as kem
    from keras_espmedsam.export import get_format
    from keras_espmedsam.layers.conv_norm import folded_norms

    with folded_norms():
        model = kem.models.TinyViTBackbone(image_shape=(size, size, 3))
    signature = [tf.TensorSpec((batch, size, size, 3), "float32", "images")]

    @tf.function(input_signature=signature)
    def function(images):
        return {"embeddings": model(images, training=False)}

    folder = Path(tempfile.mkdtemp())
    if name == "tflite":
        import keras

        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serving_default", function.python_function, signature)
        archive.write_out(str(folder / "saved"), verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
        path = folder / "encoder.tflite"
        path.write_bytes(converter.convert())
    else:
        path = folder / "encoder.onnx"
        tf2onnx.convert.from_function(
            function, input_signature=signature, opset=18, output_path=str(path)
        )
    if name == "openvino":
        from keras_espmedsam._startup import import_runtime

        openvino = import_runtime("openvino")
        openvino.save_model(
            openvino.convert_model(str(path)), str(folder / "encoder.xml"), compress_to_fp16=False
        )
        path = folder / "encoder.xml"
    runtime, images = get_format(name).load(path), _images(size, batch)
    return lambda: runtime({"images": images})


def sam_base(size, batch, _=None):
    from keras_hub.models import ViTDetBackbone

    model = ViTDetBackbone(
        hidden_size=768,
        num_layers=12,
        intermediate_dim=3072,
        num_heads=12,
        global_attention_layer_indices=[2, 5, 8, 11],
        image_shape=(size, size, 3),
    )
    return _predicting(model, _images(size, batch))


def unet(size, batch, _=None):
    from unet import UNetBackbone

    return _predicting(UNetBackbone(), {"images": _images(size, batch)})


def _published(size, dtype=None):
    import keras_espmedsam as kem

    image_encoder = kem.models.TinyViTBackbone(
        num_modalities=6, image_shape=(size, size, 3), dtype=dtype
    )
    return kem.models.ESPMedSAMBackbone(image_encoder, dtype=dtype)


def published(size, batch, name, precision="float32"):
    """The whole network, folded; `name` is a backend, or openvino."""
    import keras_espmedsam as kem
    from keras_espmedsam.export import get_format
    from keras_espmedsam.inference.precision import dtype_policy

    inputs = {"images": _images(size, batch), "modalities": np.zeros(batch, "int32")}
    exported = name in FORMATS
    segmenter = kem.models.ESPMedSAMImageSegmenter(
        _published(size, None if exported else dtype_policy(precision)),
        kem.models.ESPMedSAMImageSegmenterPreprocessor(
            kem.models.ESPMedSAMImageConverter(image_size=(size, size))
        ),
    )
    if not exported:
        return _predicting(segmenter.fold(), inputs)
    path = Path(tempfile.mkdtemp()) / f"published{get_format(name).suffix}"
    segmenter.export_for(name, path, flavor="logits", batch_size=batch)
    runtime = get_format(name).load(path, precision)
    return lambda: runtime(inputs)


def published_bfloat16(size, batch, name):
    return published(size, batch, name, "bfloat16")


def whole(size, batch, _=None):
    import keras_espmedsam as kem

    image_encoder = kem.models.TinyViTBackbone(num_modalities=1, image_shape=(size, size, 3))
    backbone = kem.models.ESPMedSAMBackbone(image_encoder, modalities=("fundus",), num_queries=7)
    return _predicting(backbone, {"images": _images(size, batch)})


def folded_whole(size, batch, _=None):
    from keras_espmedsam.layers.conv_norm import folded_norms

    with folded_norms():
        return whole(size, batch)


def encode(size, batch, _=None):
    return _predicting(
        _published(size).image_encoder,
        {"images": _images(size, batch), "modalities": np.zeros(batch, "int32")},
    )


def decode(size, batch, _=None, all_queries=False):
    import keras

    backbone = _published(size)
    stride = size // 16
    embeddings = keras.Input((stride, stride, 256))
    modalities = keras.Input((), dtype="int32")
    outputs = backbone.decode(embeddings, modalities, all_queries)
    values = np.random.default_rng(0).normal(size=(batch, stride, stride, 256)).astype("float32")
    model = keras.Model([embeddings, modalities], outputs)
    return _predicting(model, [values, np.zeros(batch, "int32")])


def decode_all(size, batch, _=None):
    return decode(size, batch, all_queries=True)


def one_modality(size, batch, _=None):
    return _predicting(
        _published(size), {"images": _images(size, batch), "modalities": np.zeros(batch, "int32")}
    )


def mixed(size, batch, _=None):
    indices = np.arange(batch, dtype="int32") % 6
    return _predicting(_published(size), {"images": _images(size, batch), "modalities": indices})


def _nano(precision=None, preset=NANO):
    from keras_espmedsam.inference.load_models import load_segmenter

    return load_segmenter(preset, precision)


def _image(size):
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype="uint8")


def nano(size, batch, _=None, precision=None, preset=NANO, modality="ultrasound"):
    segmenter, images = _nano(precision, preset), [_image(size)] * batch
    return lambda: segmenter.segment(images, modality, batch_size=batch)


def nano_1(size, batch, _=None):
    return nano(size, batch, preset=f"{NANO}@1")


def nano_xray(size, batch, _=None):
    """A modality of three targets."""
    return nano(size, batch, modality="xray")


def nano_fundus(size, batch, _=None):
    """The modality that version 2 segments at 512 x 512."""
    return nano(size, batch, modality="fundus")


def nano_bfloat16(size, batch, _=None):
    return nano(size, batch, precision="bfloat16")


def folded_nano(size, batch, _=None):
    segmenter, images = _nano().fold(), [_image(size)] * batch
    return lambda: segmenter.segment(images, "ultrasound", batch_size=batch)


def exported_nano(size, batch, name, precision="float32"):
    from keras_espmedsam.export import ExportedSegmenter, get_format

    path = Path(tempfile.mkdtemp()) / f"nano{get_format(name).suffix}"
    _nano().export_for(name, path, batch_size=batch)
    segmenter, images = ExportedSegmenter(path, precision), [_image(size)] * batch
    return lambda: segmenter.segment(images, "ultrasound", batch_size=batch)


def exported_nano_bfloat16(size, batch, name):
    return exported_nano(size, batch, name, "bfloat16")


def predict(size, batch, _=None):
    segmenter, images = _nano(), np.stack([_image(size)] * batch)
    x = {"images": images, "modalities": "ultrasound"}
    return lambda: segmenter.predict(x, batch_size=batch, verbose=0)


def training(size, batch, _=None):
    import keras

    segmenter = _nano()
    segmenter.compile()
    x = {"images": _images(size, batch), "modalities": np.arange(batch, dtype="int32") % 6}
    shapes = {"masks": (batch, size, size, 1), "patches": (batch, size // 32, size // 32, 1)}
    rng = np.random.default_rng(0)
    y = {name: (rng.random(shape) > 0.5).astype("float32") for name, shape in shapes.items()}
    return lambda: keras.Model.train_on_batch(segmenter, x, y)


def _recognizer():
    import keras_espmedsam as kem

    return kem.models.TiCImageClassifier.from_preset("tic_tiny_modality")


def tic(size, batch, _=None):
    classifier, images = _recognizer(), [_image(size)] * batch
    return lambda: classifier.classify(images, batch_size=batch)


def exported_tic(size, batch, name):
    from keras_espmedsam.export import get_format

    path = Path(tempfile.mkdtemp()) / f"tic{get_format(name).suffix}"
    _recognizer().export_for(name, path, batch_size=batch)
    runtime, images = get_format(name).load(path), np.stack([_image(size)] * batch)
    return lambda: runtime({"images": images})


# Programs of their own, from their start to their end.


def importing(size, batch, _=None):
    return lambda: _program(sys.executable, "-c", "import keras")


def command(size, batch, _=None, modality="fundus"):
    import skimage.data
    from PIL import Image

    folder = Path(tempfile.mkdtemp())
    Image.fromarray(skimage.data.retina()[:size, :size]).save(folder / "eye.png")
    program = [shutil.which("espmedsam"), "segment", folder / "eye.png", "--output", folder]
    return lambda: _program(*program, "--modality", modality, "--overwrite")


def command_auto(size, batch, _=None):
    return command(size, batch, modality="auto")


def _program(*arguments):
    subprocess.run(list(map(str, arguments)), check=True, capture_output=True)


# === One process per system ===


def serve(name, size, batch, core=None):
    """In a process of its own: prepare, then one run for each line of the input."""
    clock = time.perf_counter
    if core is not None:
        os.sched_setaffinity(0, {core})
        clock = time.process_time
    function, _, argument = name.partition(":")
    run = globals()[function](size, batch, argument)
    before = _memory()
    for _ in range(4):  # Compilation, and what is kept for later.
        run()
    print("ready", flush=True)
    for _ in sys.stdin:
        begin = clock()
        run()
        print(clock() - begin, flush=True)
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(one).ru_maxrss for one in who) * 1024
    print(max(0, peak - before), flush=True)


def _memory():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


class Process:
    """A system in a process of its own."""

    def __init__(self, name, work):
        argument = name.partition(":")[2]
        backend = argument if argument in BACKENDS else "torch"
        backend = "tensorflow" if argument in FORMATS else backend
        # Waiting threads of one system must not spin while another is timed.
        environment = {"KERAS_BACKEND": backend, "OMP_WAIT_POLICY": "PASSIVE"}
        arguments = [name, work.size, work.batch]
        if work.one_core:
            arguments.append(min(os.sched_getaffinity(0)))
            environment["OMP_NUM_THREADS"] = "1"
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", *map(str, arguments)],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in self.process.stdout:
            if line.strip() == "ready":
                return
        raise RuntimeError(f"{name}: {self.process.stderr.read()[-2000:]}")

    def run(self):
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def end(self):
        """Bytes above what there was before the first run."""
        out, _ = self.process.communicate()
        return float(out.strip().splitlines()[-1])


def measure(work):
    """dict of system to its seconds and memory, or to why there are none."""
    processes, found = {}, {}
    for name in work.systems:
        try:
            processes[name] = Process(name, work)
        except RuntimeError as error:
            lines = str(error).strip().splitlines()
            found[name] = {"failed": f"{name}: {lines[-1]}"}
        print(" ", name, "failed" if name in found else "ready", flush=True)
    times = {name: [] for name in processes}
    for _ in range(REPEATS):
        for name, process in processes.items():
            times[name].append(process.run())
    for name, process in processes.items():
        low, _, high = statistics.quantiles(times[name], n=4)
        found[name] = {
            "seconds": statistics.median(times[name]),
            "quartiles": [low, high],
            "megabytes": process.end() / 2**20,
        }
    return found


def write_table(results):
    """docs/reports/performance.md from what was measured."""
    parts = [DOCUMENT.format(repeats=REPEATS)]
    for name, result in results.items():
        work, systems = WORKS[name], result["systems"]
        first = systems[work.systems[0]]
        rows = [
            "| system | time | quartiles | memory | aim, time |",
            "|---|---|---|---|---|",
        ]
        for system in work.systems:
            one = systems[system]
            aim = work.aims.get(system, "")
            if "failed" in one:
                rows.append(f"| {system} | {one['failed']} | | | {aim} |")
                continue
            ratio = [one["seconds"] / first["seconds"]]
            ratio += [value / first["seconds"] for value in one["quartiles"]]
            memory = one["megabytes"] / max(first["megabytes"], 1)
            rows.append(
                f"| {system} | {ratio[0]:.2f} | {ratio[1]:.2f} to {ratio[2]:.2f} | {memory:.2f} "
                f"| {aim} |"
            )
        # What was measured before there were versions is of the first.
        title = work.title.replace(NANO, result.get("preset", f"{NANO}@1"))
        parts.append(
            f"## {title}\n\n{work.size} x {work.size}, batch {work.batch}; {work.systems[0]}: "
            f"{1000 * first['seconds']:.0f} ms{' of CPU time' * work.one_core}, "
            f"{first['megabytes']:.0f} MiB. {result['machine']}."
            f"\n\n    python benchmarks/speed.py {name}\n\n" + "\n".join(rows)
        )
    parts.append(NOTES)
    (DOCS / "performance.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


DOCUMENT = """\
# Performance

Written by `benchmarks/speed.py`, which says how: a process per system, all of a work interleaved,
{repeats} runs. Times and memory are ratios to the first row. Beside it stand
[the first step of training](first_step.md), [what is compiled and kept](compile_cache.md),
[float32 or bfloat16](precision.md) and [trips between host and device](device_transfers.md)."""

NOTES = """\
`versions_*` is the CPU time of one image on one core, of `espmedsam_nano_256` over that of its
version 1: an ultrasound image (one target), an X-ray (three) and a fundus image (five), which
version 2 segments at 512 x 512, and version 1 at 256 x 256. Works whose title names version 1 were
measured with it.

## What made it fast, and what did not help

On the CPU of the figures above; the numbers here are of single measurements. `whole`, `tic` and
`precision_1024_*` were measured while other programs ran: their quartiles are wide.

- Convolutions in the form that each backend likes ([convolution.md](convolution.md)), enlarging by
  matrix products ([upscaling.md](upscaling.md)), bilinear enlarging by slices on JAX alone
  ([bilinear.md](bilinear.md)): with Keras' own the encoder took 1.15 of timm's time on torch and
  1.8 on JAX.
- Starting: random initial values that a preset replaces are not drawn (on JAX, 12 of 16 s: each
  shape is compiled by itself); keras-hub is kept from importing TensorFlow beside another backend
  (2 s); Python looks for no garbage while Keras is imported and at the end (1.5 s); on TensorFlow
  up to eight images are not traced (3.6 s); the command keeps all of JAX's compilations. What is
  left on JAX is tracing and lowering the model, 1.5 s, and Keras' building of 670 layers and
  reading them from HDF5, 1.3 s.
- `torch.compile` by `compile(jit_compile=True)`: it compiles again for each layer's attributes and
  had not ended after four minutes. It is not used.
- Bilinear enlarging with channels first within: 1.0 to 2.3 times the time of channels last, but for
  one channel on torch.
- The memory of a training step on JAX is that of compiling it: once compiled, a step on two
  images holds 0.22 GiB. Rematerialising the shifted maps of its depthwise convolutions changed
  nothing.
- On torch, more than half of what one small image takes is Keras' work for each operation. From
  the third image of a shape on, PyTorch's own operations are repeated without it: that takes 0.46
  of the time for espmedsam_nano_256 and 0.22 for tic_tiny_modality. Recording takes as long as five
  images do without it; `make_fx` as 29, `torch.export` as 74, and `torch.jit.trace` fails.
- 0.4 of the published time at 1024 x 1024 in float32 is reached on no backend. On torch what is
  left is mostly matrix products, 113 GFLOP, which are 0.5 s of two cores by themselves."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("works", nargs="*", metavar="WORK")
    parser.add_argument("--list", action="store_true", help="the works and their systems")
    parser.add_argument("--serve", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        name, *numbers = arguments.serve
        serve(name, *map(int, numbers))
        return
    if arguments.list:
        for name, work in WORKS.items():
            print(f"{name}: {work.title}", *work.systems, sep="\n  ")
        return
    unknown = [name for name in arguments.works if name not in WORKS]
    if unknown:
        parser.error(f"unknown work {unknown[0]}; known: {', '.join(WORKS)}")
    from keras_espmedsam.hub.built_in_presets import versioned_name

    path = DOCS / "performance.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for name in arguments.works or WORKS:
        print(name, flush=True)
        cores = f"one of {os.cpu_count()}" if WORKS[name].one_core else os.cpu_count()
        results[name] = {
            "machine": f"{platform.machine()}, {cores} CPU cores",
            "preset": versioned_name(NANO),
            "systems": measure(WORKS[name]),
        }
        results = {key: results[key] for key in WORKS if key in results}
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_table(results)


if __name__ == "__main__":
    main()
