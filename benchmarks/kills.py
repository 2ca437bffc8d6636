"""Kill every command that writes, by SIGKILL at random moments, and see what is left each time.

    KERAS_BACKEND=torch python benchmarks/kills.py --output docs
    KERAS_BACKEND=torch python benchmarks/kills.py --commands segment convert --kills 5

Each command is run once without an interruption, and then killed again and again, each time in an
empty folder: at a moment drawn from all of its run, and in turn at one after it began to write.
After each kill every file under its own name must be whole. Then the same command is given once
more: it must end well, leave nothing half-written, and its files must equal those of the run that
was left alone. The models are small and the images made here. A command runs in a fork of this
program, which has started Keras on PyTorch already (TensorFlow and JAX cannot be forked): so a kill
seldom falls into the start, where nothing is written.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

import h5py
import keras
import numpy as np
import yaml
from PIL import Image

import keras_espmedsam as kem
from keras_espmedsam.cli.main import app

UNFINISHED = ".writing-"
EXPORTS = {
    "export tflite": "model.tflite",
    "export onnx": "model.onnx",
    "export openvino": "model.xml",
    "export saved_model": "model",
}
# A run that cannot be left alone for longer does not end.
LIMIT = 600


def make_inputs(folder):
    """Images with masks, an index, a small preset, and configurations."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    rows = ["split,modality,dataset,image,mask"]
    y, x = np.mgrid[:32, :32]
    for i in range(8):
        mask = (y - rng.uniform(10, 22)) ** 2 + (x - 16) ** 2 < 49
        image = rng.integers(0, 90, (32, 32, 3)) + 120 * mask[..., None]
        Image.fromarray(image.astype("uint8")).save(folder / "images" / f"{i}.png")
        Image.fromarray(mask.astype("uint8") * 255).save(folder / "images" / f"{i}_mask.png")
        split = "test" if i > 5 else "val" if i > 3 else "train"
        rows += [f"{split},lung,discs,images/{i}.png,images/{i}_mask.png"]
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    inputs = keras.Input((32, 32, 3))
    encoder = keras.Model(inputs, keras.layers.Conv2D(16, 16, strides=16)(inputs))
    backbone = kem.models.ESPMedSAMBackbone(
        encoder,
        modalities=("skin", "lung"),
        transformer_depth=1,
        transformer_num_heads=2,
        transformer_mlp_dim=16,
    )
    converter = kem.models.ESPMedSAMImageConverter(image_size=(32, 32))
    preprocessor = kem.models.ESPMedSAMImageSegmenterPreprocessor(converter)
    segmenter = kem.models.ESPMedSAMImageSegmenter(backbone, preprocessor)
    segmenter.save_to_preset(folder / "small")
    data = {"sources": [{"index": str(folder / "index.csv")}]}
    phase = {"epochs": 3, "steps": 2, "batch_size": 2}
    train = {
        "output": "run",
        "model": {"preset": str(folder / "small")},
        "data": data,
        "phases": [phase],
    }
    distill = {
        "output": "run",
        "student": {"preset": str(folder / "small")},
        "medical_teacher": {"preset": str(folder / "small")},
        "data": data,
        "phases": [{"phase": "joint", **phase}],
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(train))
    (folder / "distill.yaml").write_text(yaml.safe_dump(distill))


def make_checkpoint(path):
    """A checkpoint of MobileSAM's names and shapes, with random values."""
    import torch

    from keras_espmedsam.converters.names import decoder_entries, encoder_entries
    from keras_espmedsam.converters.untrained_segmenter import published_segmenter

    backbone = published_segmenter(("lung",), (0,), "imagenet", "pad").backbone
    entries = encoder_entries(backbone.image_encoder, "image_encoder.")
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for entry in [*entries, *decoder_entries(backbone.mask_decoder)]:
        shape = entry.layout.torch_shape(tuple(entry.variable.shape))
        tensors[entry.name] = 0.1 * torch.rand(tuple(shape), generator=generator)
    torch.save(tensors, path)


def commands(folder, output):
    """The arguments of each command, and what is added where it is given once more."""
    small, index = folder / "small", folder / "index.csv"
    on_small = ("--preset", small)
    found = {
        "segment": (
            ("segment", folder / "images", "--modality", "lung", *on_small, "--overlay"),
            ("--output", output),
            ("--overwrite",),
        ),
        "evaluate": (
            ("evaluate", "--data", index, *on_small, "--batch-size", 1, "--split", "train"),
            ("--output", output / "report.json", "--per-image", output / "images.csv"),
            ("--resume",),
        ),
        "convert": (
            ("convert", "mobilesam", folder / "mobile_sam.pt"),
            ("--output", output / "preset"),
            (),
        ),
        "add-modality": (
            ("add-modality", "eye", "--data", index, *on_small, "--epochs", 3, "--steps", 2),
            ("--batch-size", 2, "--output", output),
            (),
        ),
        "train": (("train", folder / "train.yaml"), ("--output", output), ()),
        "distill": (("distill", folder / "distill.yaml"), ("--output", output), ()),
    }
    for name, file in EXPORTS.items():
        arguments = ("export", "--format", name.split()[1], *on_small, "--modality", "lung")
        found[name] = (arguments, ("--output", output / file), ("--overwrite",))
    return {
        name: ([str(one) for one in (*first, *rest)], list(again))
        for name, (first, rest, again) in found.items()
    }


def start(arguments, log):
    """Run a command in a fork; gives the number of the process, which leads a group of its own."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.setsid()
        with open(log, "wb") as file:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
        try:
            app(arguments, prog_name="espmedsam")
        except SystemExit as end:
            code = end.code or 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def ended(process):
    """The exit code of a process that has ended, or None."""
    found, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def state(output):
    """What is in a folder, so that a change of it is seen."""
    found = {}
    for path in output.rglob("*"):
        with contextlib.suppress(OSError):
            found[str(path)] = path.stat().st_mtime_ns, path.stat().st_size
    return found


def left_alone(arguments, output, log):
    """Run to the end; gives the seconds until something was written, and all of them."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    began, first = time.monotonic(), None
    process = start(arguments, log)
    while (code := ended(process)) is None:
        time.sleep(0.001)
        if first is None and state(output):
            first = time.monotonic() - began
        if time.monotonic() - began > LIMIT:
            end_group(process)
    assert code == 0, f"{arguments}: {code}\n{log.read_text()[-2000:]}"
    seconds = time.monotonic() - began
    return seconds if first is None else first, seconds


def end_group(process):
    """End a process and those that it started; gives whether some of them were still there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
        return True
    return False


def kill(arguments, output, log, rng, writing, first, seconds):
    """Run a command and kill it; gives its exit code, which is that of the kill or of its end."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    began = time.monotonic()
    process = start(arguments, log)
    moment = rng.uniform(0, seconds)
    if writing:
        while not state(output) and ended(process) is None:
            time.sleep(0.0005)
        began, moment = time.monotonic(), rng.uniform(0, seconds - first)
    code = None
    while time.monotonic() - began < moment:
        try:
            code = ended(process)
        except ChildProcessError:
            code = 0
        if code is not None:
            break
        time.sleep(0.0005)
    if code is None:
        os.kill(process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    # A TensorFlow process that sees the end of its parent ends itself.
    end = time.monotonic() + 5
    while time.monotonic() < end and group_is_there(process):
        time.sleep(0.05)
    return code, end_group(process)


def group_is_there(process):
    try:
        os.killpg(process, 0)
    except ProcessLookupError:
        return False
    return True


def is_whole(path):
    """Whether a file can be read to its end."""
    try:
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".yaml":
            assert yaml.safe_load(path.read_text())
        elif path.suffix == ".npz":
            with np.load(path) as file:
                for name in file.files:
                    file[name].sum()
        elif path.suffix == ".h5":
            with h5py.File(path) as file:
                file.visititems(lambda name, item: item[()] if hasattr(item, "shape") else None)
        elif path.suffix == ".csv":
            assert path.read_text().endswith("\n")
    except Exception:  # Each library has its own for a file that is cut.
        return False
    return True


def unfinished(output):
    return [path for path in output.rglob(f"{UNFINISHED}*")]


def files_of(output):
    """Digest by name of all files that are in their place."""
    return {
        path.relative_to(output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.rglob("*"))
        if path.is_file() and UNFINISHED not in str(path) and path.suffix != ".partial"
    }


def is_torn(output):
    """Whether an artefact lies beside the description of another one."""
    for path in output.glob("*.json"):
        content = json.loads(path.read_text())
        for name, digest in content.get("sha256", {}).items():
            file = output / name
            if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
                return True
    return False


def measure(name, arguments, again, output, log, kills, rng):
    """Kill a command again and again; gives a row of the table."""
    first, seconds = left_alone(arguments, output, log)
    whole = files_of(output)
    # What two runs that are left alone write differently says nothing.
    left_alone(arguments, output, log)
    other = files_of(output)
    assert whole.keys() == other.keys(), name
    same = {file for file in whole if whole[file] == other[file]}
    row = dict.fromkeys(
        ("killed", "half files", "torn", "left by the kill", "left after", "processes"), 0
    )
    equal = 0
    for number in range(kills):
        code, processes = kill(arguments, output, log, rng, number % 2 == 1, first, seconds)
        row["killed"] += code == -signal.SIGKILL
        row["processes"] += processes
        row["half files"] += sum(
            not is_whole(path)
            for path in output.rglob("*")
            if path.is_file() and UNFINISHED not in str(path)
        )
        row["torn"] += name.startswith("export") and is_torn(output)
        row["left by the kill"] += bool(unfinished(output))
        once_more = again
        if "--resume" in again and not list(output.glob("*.partial")):
            once_more = ["--overwrite"]  # It was at its end, or had not begun.
        process = start(arguments + once_more, log)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        end_group(process)
        row["left after"] += bool(unfinished(output))
        found = files_of(output)
        right = found.keys() == whole.keys() and all(found[one] == whole[one] for one in same)
        equal += code == 0 and right
        if code or not right:
            different = sorted(one for one in {*found, *whole} if found.get(one) != whole.get(one))
            print(f"{name}, kill {number}: exit code {code}, different: {different[:5]}")
            print(log.read_text(errors="replace")[-600:])
    return {
        "command": name,
        "seconds": round(seconds, 1),
        **row,
        "equal after": f"{equal} of {kills}",
        "files compared": f"{len(same)} of {len(whole)}",
    }


def table(rows):
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|---" + "|---:" * (len(names) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(map(str, r.values())) + " |" for r in rows)])


PAGE = """# Commands that are killed

Each command that writes was run once to its end, and then killed by SIGKILL {kills} times, each
time in an empty folder: every other one at a moment drawn from all of its run, the others at one
after it began to write. Then the same command was given once more. Written by
`benchmarks/kills.py{options}`; do not edit.

{table}

- **half files**: files under their own name that cannot be read to their end. **torn**: an artefact
  beside the description of another one.
- **left by the kill**: how often something half-written (`.writing-*`) lay there after the kill;
  **left after**: after the command was given once more.
- **processes**: how often a process that the command had started was there after five seconds.
- **equal after**: how often the command then ended well and its files were those of the run that
  was left alone. Compared are those that two such runs write alike: others hold a date.
"""


def main(arguments=None):
    """Measure, print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commands", nargs="+", metavar="NAME", help="some of them; all")
    parser.add_argument("--kills", type=int, default=20, help="of each command (20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--output", type=pathlib.Path, help="folder for kills.md and kills.json")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name).resolve()
        output, log = folder / "output", folder / "log.txt"
        make_inputs(folder)
        known = commands(folder, output)
        for command in options.commands or known:
            if command == "convert":
                make_checkpoint(folder / "mobile_sam.pt")
            rng = random.Random(f"{options.seed} {command}")
            rows.append(measure(command, *known[command], output, log, options.kills, rng))
            print(rows[-1], flush=True)
    print(table(rows))
    if options.output is not None:
        said = "" if not options.commands else f" --commands {' '.join(options.commands)}"
        page = PAGE.format(kills=options.kills, options=said, table=table(rows))
        (options.output / "kills.md").write_text(page)
        (options.output / "kills.json").write_text(json.dumps(rows, indent=1) + "\n")
    return rows


if __name__ == "__main__":
    main()
