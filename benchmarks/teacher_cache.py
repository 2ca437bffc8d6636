"""What a cache of the teacher's features saves in phase 3, and what it costs.

    KERAS_BACKEND=torch python benchmarks/teacher_cache.py --output docs/reports

Trains a student's controllers (phase 3) with the teacher in each step and with its features read
from a cache, on images of noise that it makes itself; prints a table of time per step, peak
memory, disk use and the cost of building, and writes it to `teacher_cache.md` in the output folder,
the raw numbers to `teacher_cache.json`. Each case has a process of its own, whose peak tells what
it took. `--teacher vit_b --student tiny_vit_5m --image-size 1024` is the published size.
"""

import argparse
import itertools
import json
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

MIB = 2**20
MODALITIES = ("dermoscopy", "xray", "fundus", "colonoscopy", "ultrasound", "microscopy")
CASES = ("without", "build", "with")
# SAM's ViT-B, and one that an image of 256 pixels suits. The student's and teacher's embeddings
# have one size: a sixteenth of the image's.
TEACHERS = {
    "small": dict(hidden_dim=192, depth=6, num_heads=3, global_indices=(2, 5)),
    "vit_b": dict(),
}
STUDENTS = {
    "light": dict(
        hidden_dims=(32, 48, 96, 128),
        depths=(1, 1, 2, 1),
        num_heads=(2, 4, 4),
        window_sizes=(8, 16, 8),
    ),
    "tiny_vit_5m": dict(),
}

HEADER = """\
# A cache of the teacher's features

`benchmarks/teacher_cache.py`: phase 3 (controllers alone) with the teacher in each step, and with
its features read from a cache in half precision. Medians of epochs after a first one, which may
compile; the images are placed once and normalised in each step. The teacher's weights are loaded
with a cache too, to tell whether it is theirs.
"""
SECTION = """\
## Teacher `{teacher}`, student `{student}`, {image_size} x {image_size}

    {command}

Batches of {batch_size}; the teacher has {teacher_parameters:,} parameters, the student
{student_parameters:,}. {machine}; keras {keras}, {backend}; {epochs} epochs of {steps} steps.

{table}

Building a batch takes {build_steps:.1f} steps of the training without a cache: it has paid after
{passes:.1f} epochs. {disk} are kept per image and variant.
"""


def peak_memory():
    """Highest resident memory of this process so far, in bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# === One case, in a process of its own ===


def write_images(folder, count, size):
    """Noise, smoothed so that PNG has something to decode."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(count):
        small = Image.fromarray(rng.integers(0, 256, (size // 8, size // 8, 3), "uint8"))
        small.resize((size, size)).save(folder / f"{i:04d}.png")


def make(options, folder):
    """Student, teacher, records and converter; weights are the same in each process."""
    import keras

    import keras_espmedsam as kem

    keras.utils.set_random_seed(0)
    size = options["image_size"]
    student = kem.models.TinyViTBackbone(
        num_modalities=len(MODALITIES), **STUDENTS[options["student"]]
    )
    model = kem.models.ViTMedBackbone(image_shape=(size, size, 3), **TEACHERS[options["teacher"]])
    records = [
        kem.data.Record("train", MODALITIES[i % len(MODALITIES)], "noise", path)
        for i, path in enumerate(sorted(folder.glob("*.png")))
    ]
    converter = kem.models.ESPMedSAMImageConverter(image_size=(size, size))
    return student, kem.distillation.Teacher(model, name="vit_med"), records, converter


def measure(case, options, folder):
    """The figures of one case."""
    import keras

    from keras_espmedsam.distillation import (
        DecoupledDistiller,
        DistillationDataset,
        TeacherCache,
    )

    student, teacher, records, converter = make(options, folder)
    loaded = peak_memory()
    about = {
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "teacher_parameters": teacher.model.count_params(),
        "student_parameters": student.count_params(),
    }
    cache = None
    if case != "without":
        cache = TeacherCache(
            folder / "cache", teacher, records, converter, ("identity", "hflip"), MODALITIES
        )
    if case == "build":
        times = [time.perf_counter()]
        size = options["batch_size"]
        cache.build(size, lambda *_: times.append(time.perf_counter()), announce=None)
        batches = [end - start for start, end in itertools.pairwise(times)]
        files = sum(path.stat().st_size for path in cache.folder.rglob("*") if path.is_file())
        return about | {
            # The first may compile.
            "seconds": statistics.median(batches[1:]),
            "total": times[-1] - times[0],
            "disk": files,
            "entries": 2 * len(records),
            "peak": peak_memory(),
            "rise": peak_memory() - loaded,
        }
    dataset = DistillationDataset(
        converter,
        domain=records,
        modalities=MODALITIES,
        batch_size=options["batch_size"],
        steps=options["steps"],
        domain_cache=cache,
    )
    distiller = DecoupledDistiller(student, domain_teachers=teacher, phase="controllers")
    distiller.compile()
    epochs = Epochs()
    distiller.fit(
        dataset, epochs=1 + options["epochs"], verbose=0, shuffle=False, callbacks=[epochs()]
    )
    return about | {
        "seconds": statistics.median(epochs.seconds[1:]) / options["steps"],
        "peak": peak_memory(),
        "rise": peak_memory() - loaded,
    }


class Epochs:
    """Collects the seconds of each epoch; Keras is imported by the time it is called."""

    def __init__(self):
        self.seconds = []

    def __call__(self):
        import keras

        def begin(epoch, logs):
            self.start = time.perf_counter()

        def end(epoch, logs):
            self.seconds.append(time.perf_counter() - self.start)

        return keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_epoch_end=end)


# === All of them ===


def in_own_process(case, options, folder):
    """`measure` in a fresh process, since a peak never falls again.

    The parent imports nothing large: on Linux a child begins with its parent's peak.
    """
    result = folder / f"{case}.json"
    command = [sys.executable, __file__, "--measure", case, "--folder", str(folder)]
    subprocess.run([*command, "--options", json.dumps(options)], check=True)
    found = json.loads(result.read_text(encoding="utf-8"))
    print(case, found, file=sys.stderr, flush=True)
    return found


def table(rows):
    """Markdown: one row per case, and with a cache over without."""
    lines = [
        "| phase 3 | time per step, ms | peak memory, MiB | of it above the loaded models, MiB |",
        "|---|---|---|---|",
    ]
    names = {"without": "teacher in each step", "with": "cache", "build": "building the cache"}
    for case, name in names.items():
        row = rows[case]
        lines.append(
            f"| {name} | {1000 * row['seconds']:.0f} | {row['peak'] / MIB:.0f} "
            f"| {row['rise'] / MIB:.0f} |"
        )
    ratios = [rows["with"][key] / rows["without"][key] for key in ("seconds", "peak", "rise")]
    lines.insert(4, "| cache / teacher | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--teacher", choices=TEACHERS, default="small")
    parser.add_argument("--student", choices=STUDENTS, default="light")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("docs/reports"))
    parser.add_argument("--measure", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--options", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        found = measure(arguments.measure, arguments.options, arguments.folder)
        path = arguments.folder / f"{arguments.measure}.json"
        path.write_text(json.dumps(found), encoding="utf-8")
        return
    names = ("teacher", "student", "image_size", "batch_size", "images", "steps", "epochs")
    options = {name: getattr(arguments, name) for name in names}
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        write_images(folder, options["images"], options["image_size"])
        rows = {case: in_own_process(case, options, folder) for case in CASES}
    setting = "{teacher} {student} {image_size}".format(**options)
    threads = os.environ.get("OMP_NUM_THREADS", os.cpu_count())
    raw = arguments.output / "teacher_cache.json"
    runs = json.loads(raw.read_text(encoding="utf-8")) if raw.exists() else {}
    runs[setting] = {
        "options": options,
        "command": f"KERAS_BACKEND={rows['build']['backend']} python benchmarks/teacher_cache.py "
        + shlex.join(sys.argv[1:]),
        "machine": f"{platform.machine()}, {threads} thread(s)",
        "cases": rows,
    }
    print(section(runs[setting]))
    raw.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    text = "\n".join([HEADER, *map(section, runs.values())])
    (arguments.output / "teacher_cache.md").write_text(text, encoding="utf-8")


def section(run):
    """Markdown of one setting."""
    rows = run["cases"]
    build, without, cached = rows["build"], rows["without"], rows["with"]
    saved = without["seconds"] - cached["seconds"]
    return SECTION.format(
        command=run["command"],
        machine=run["machine"],
        table=table(rows),
        build_steps=build["seconds"] / without["seconds"],
        # Two variants are built, of which an epoch sees one of each image.
        passes=2 * build["seconds"] / saved if saved > 0 else float("inf"),
        disk=f"{build['disk'] / build['entries'] / 1000:.0f} kB",
        **run["options"],
        **{key: build[key] for key in ("backend", "keras")},
        **{key: build[key] for key in ("teacher_parameters", "student_parameters")},
    )


if __name__ == "__main__":
    main()
