"""Kill every command that writes, by SIGKILL at random moments, and see what is left each time.

    KERAS_BACKEND=torch python benchmarks/kills.py --output docs/reports
    KERAS_BACKEND=torch python benchmarks/kills.py --commands segment convert --kills 5

Each command is run once without an interruption, and then killed again and again, each time in a
new folder: at a moment drawn from all of its run, and in turn at one after it began to write. What
replaces something finds an older one there: an artefact of another modality, a preset of other
weights. After each kill every file under its own name must be whole, and what consists of several
must be the old or the new. Then the same command is given once more: it must end well, leave
nothing half-written, and its files must equal those of the run that was left alone; of an artefact,
whose writers name and order its parts differently each time, the masks that it gives. The models
are small and the images made here. A command runs in a fork of this program, which has started
Keras on PyTorch already (TensorFlow and JAX cannot be forked once they run): so a kill seldom falls
into the start, where nothing is written.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import h5py
import keras
import numpy as np
import yaml
from PIL import Image

import keras_espmedsam as kem
from keras_espmedsam.cli.app import app
from keras_espmedsam.hub.checksums import CHECKSUMS_FILE, check_checksums

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
    for weight in segmenter.weights:
        weight.assign(weight + 1)
    segmenter.save_to_preset(folder / "older" / "preset")
    (folder / "older" / "preset" / "README.md").write_text("Which the new one keeps.\n")
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


def save_again(small, output):
    """What a program does that saves a model where an older one lies."""
    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(small)
    segmenter.save_to_preset(output / "preset")


def make_older(name, arguments, folder, output, log):
    """What lies in the output of a command that replaces it; gives the folder, or None."""
    if name == "save_to_preset":
        return folder / "older"
    if name not in EXPORTS:
        return None
    left_alone(["skin" if one == "lung" else one for one in arguments], None, output, log)
    older = folder / name.replace(" ", "_")
    shutil.copytree(output, older)
    return older


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
        "save_to_preset": ((save_again, folder / "small"), (output,), ()),
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
        found[name] = (arguments, ("--output", output / file, "--overwrite"), ())
    return {
        name: ([one if callable(one) else str(one) for one in (*first, *rest)], list(again))
        for name, (first, rest, again) in found.items()
    }


def start(arguments, log, then=None):
    """Run a command, or a function with its folders, in a fork, and then another command.

    Gives the number of the process, which leads a group of its own.
    """
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.setsid()
        # `convert mobilesam` makes weights at random that the checkpoint lacks.
        keras.utils.set_random_seed(0)
        with open(log, "wb") as file:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
        if callable(arguments[0]):
            arguments[0](*map(pathlib.Path, arguments[1:]))
            code = 0
        else:
            code = run(arguments)
        if not code and then:
            code = run(then)
    finally:
        sys.stdout.flush()
        os._exit(code)


def run(arguments):
    try:
        app(arguments, prog_name="espmedsam")
    except SystemExit as end:
        return end.code or 0
    return 0


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


def prepare(output, older):
    """Put the older one there, or nothing; gives what is in the folder."""
    shutil.rmtree(output, ignore_errors=True)
    if older is None:
        output.mkdir()
    else:
        shutil.copytree(older, output)
    return state(output)


def left_alone(arguments, older, output, log, then=None):
    """Run to the end; gives the seconds until something was written, and all of them."""
    before = prepare(output, older)
    began, first = time.monotonic(), None
    process = start(arguments, log, then)
    while (code := ended(process)) is None:
        time.sleep(0.001)
        if first is None and state(output) != before:
            first = time.monotonic() - began
        if time.monotonic() - began > LIMIT:
            end_group(process)
    assert code == 0, f"{arguments}: {code}\n{log.read_text()[-2000:]}"
    seconds = time.monotonic() - began
    return seconds if first is None else first, seconds


def end_group(process):
    """End a process and those that it started; gives whether some of them were still there."""
    there = group_is_there(process)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    return there


def kill(arguments, older, output, log, rng, writing, first, seconds):
    """Run a command and kill it.

    Gives its exit code, which is that of the kill or of its end, whether it had written something,
    and whether a process that it started was left.
    """
    before = prepare(output, older)
    began = time.monotonic()
    process = start(arguments, log)
    moment = rng.uniform(0, seconds)
    if writing:
        while state(output) == before and ended(process) is None:
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
    written = state(output) != before
    if code is None:
        os.kill(process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    # A TensorFlow process that sees the end of its parent ends itself.
    end = time.monotonic() + 5
    while time.monotonic() < end and group_is_there(process):
        time.sleep(0.05)
    return code, written, end_group(process)


def group_is_there(process):
    """Whether a process of the group runs; one that has ended may wait for seconds for init."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    return any(group == str(process) and state[0] != "Z" for group, state in rows)


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


def digest_of(path):
    """Digest of what a file holds, without the time when it was written, and digests of that."""
    found = hashlib.sha256()
    if path.suffix == ".h5":
        with h5py.File(path) as file:

            def add(name, item):
                found.update(name.encode())
                if hasattr(item, "shape"):
                    found.update(np.asarray(item[()]).tobytes())

            file.visititems(add)
    elif path.suffix == ".npz":
        with np.load(path) as file:
            for name in sorted(file.files):
                found.update(name.encode() + file[name].tobytes())
    elif path.suffix == ".json":
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            content = {k: v for k, v in content.items() if k not in ("sha256", "date_saved")}
        # Keras counts the models of a program in their names, and one that goes on makes fewer.
        found.update(re.sub(r'("name": "[a-z_]+?)_\d+"', r'\1"', json.dumps(content)).encode())
    elif path.name == CHECKSUMS_FILE:
        found.update(" ".join(path.read_text().split()[1::2]).encode())
    else:
        found.update(path.read_bytes())
    return found.hexdigest()


def files_of(output):
    """Digest by name of all files that are in their place."""
    return {
        path.relative_to(output).as_posix(): digest_of(path)
        for path in sorted(output.rglob("*"))
        if path.is_file() and UNFINISHED not in str(path) and path.suffix != ".partial"
    }


def masks_of(name, folder, output):
    """The arguments of a command that shows what an artefact gives, and its folder; None of others.

    It is run where the artefact was written, where its runtime is started already.
    """
    if name not in EXPORTS:
        return None, None
    masks = folder / "masks"
    shutil.rmtree(masks, ignore_errors=True)
    arguments = ["segment", folder / "images", "--modality", "lung", "--output", masks]
    return list(map(str, [*arguments, "--preset", output / EXPORTS[name]])), masks


def results_of(output, masks):
    """As `files_of`; of an artefact its descriptions and the masks that it gives."""
    found = files_of(output)
    if masks is None:
        return found
    described = {one: digest for one, digest in found.items() if one.endswith(".json")}
    return {**described, **files_of(masks)}


def is_torn(name, older, whole, output):
    """Whether what consists of several files is neither the older one nor the new one."""
    for list_of_sums in output.rglob(CHECKSUMS_FILE):
        if UNFINISHED not in str(list_of_sums):
            try:
                check_checksums(list_of_sums.parent)
            except kem.errors.InputError:
                return True
    if name == "save_to_preset":
        return files_of(output) not in (files_of(older), whole)
    if name not in EXPORTS:
        return False
    (description,) = output.glob("*.json")
    for file, digest in json.loads(description.read_text())["sha256"].items():
        path = output / file
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            return True
    return False


def measure(name, arguments, again, folder, kills, rng):
    """Kill a command again and again; gives a row of the table."""
    output, log = folder / "output", folder / "log.txt"
    older = make_older(name, arguments, folder, output, log)
    first, seconds = left_alone(arguments, older, output, log)
    # What two runs that are left alone write differently says nothing.
    twice = []
    for _ in range(2):
        then, masks = masks_of(name, folder, output)
        left_alone(arguments, older, output, log, then)
        twice.append(results_of(output, masks))
    whole, other = twice
    assert whole.keys() == other.keys(), name
    same = {file for file in whole if whole[file] == other[file]}
    row = dict.fromkeys(
        ("killed", "writing", "half files", "torn", "left by the kill", "left after", "processes"),
        0,
    )
    equal = 0
    for number in range(kills):
        writing = number % 2 == 1
        code, written, left = kill(arguments, older, output, log, rng, writing, first, seconds)
        row["killed"] += code == -signal.SIGKILL
        row["writing"] += code == -signal.SIGKILL and written
        row["processes"] += left
        row["half files"] += sum(
            not is_whole(path)
            for path in output.rglob("*")
            if path.is_file() and UNFINISHED not in str(path)
        )
        row["torn"] += is_torn(name, older, whole, output)
        row["left by the kill"] += bool(unfinished(output))
        once_more = again
        if "--resume" in again and not list(output.glob("*.partial")):
            once_more = ["--overwrite"]  # It was at its end, or had not begun.
        # Some replace nothing, and say so where the kill came after all was written.
        complete = name not in EXPORTS and files_of(output) == whole
        then, masks = masks_of(name, folder, output)
        process = start(arguments + once_more, log, then)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        end_group(process)
        row["left after"] += bool(unfinished(output))
        said = log.read_text(errors="replace")
        found = results_of(output, masks)
        right = found.keys() == whole.keys() and all(found[one] == whole[one] for one in same)
        equal += right and (code == 0 or complete)
        if not right or (code and not complete):
            different = sorted(one for one in {*found, *whole} if found.get(one) != whole.get(one))
            print(f"{name}, kill {number}: exit code {code}, different: {different[:5]}")
            print(said[-600:])
    return {
        "command": name,
        "seconds": round(seconds, 1),
        "kills": kills,
        **row,
        "equal after": f"{equal} of {kills}",
        "files compared": f"{len(same)} of {len(whole)}",
    }


def table(rows):
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|---" + "|---:" * (len(names) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(map(str, r.values())) + " |" for r in rows)])


PAGE = """# Commands that are killed

Each command that writes was run to its end, and then killed by SIGKILL again and again, each time
in a new folder: every other one at a moment drawn from all of its run, the others at one after it
began to write. Exports and `save_to_preset` replaced an older artefact or preset. Then the same
command was given once more. Written by `benchmarks/kills.py`; do not edit.

{table}

- **seconds**: of a run that is left alone, from where Keras is started. **kills**: how often it was
  tried; **killed**: how often that came before the end; **writing**: after something was written.
- **half files**: files under their own name that cannot be read to their end. **torn**: an artefact
  beside the description of another one, a preset that is neither the older one nor the new one.
- **left by the kill**: how often something half-written (`.writing-*`) lay there after the kill;
  **left after**: after the command was given once more.
- **processes**: how often a process that the command had started was there after five seconds.
- **equal after**: how often the command then ended well, or refused to replace what was complete,
  and its files were those of the run that was left alone. Compared are those that two such runs
  write alike, without the date that some hold; of an artefact its descriptions and the masks that
  it gives.
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
        make_inputs(folder)
        known = commands(folder, folder / "output")
        for command in options.commands or known:
            if command == "convert":
                make_checkpoint(folder / "mobile_sam.pt")
            rng = random.Random(f"{options.seed} {command}")
            rows.append(measure(command, *known[command], folder, options.kills, rng))
            print(rows[-1], flush=True)
            if options.output is not None:  # What is measured is kept if the next one is not.
                write(rows, known, options)
    print(table(rows))
    return rows


def write(rows, known, options):
    """Write the table; the rows of commands that were not run, or not yet, stay."""
    file = options.output / "kills.json"
    if file.is_file():
        new = {row["command"] for row in rows}
        old = [row for row in json.loads(file.read_text()) if row["command"] in known]
        rows = rows + [row for row in old if row["command"] not in new]
        rows.sort(key=lambda row: list(known).index(row["command"]))
    page = PAGE.format(table=table(rows))
    (options.output / "kills.md").write_text(page)
    file.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
