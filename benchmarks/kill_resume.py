"""Kill a training run with SIGKILL again and again, and see what is left of it each time.

    KERAS_BACKEND=torch python benchmarks/kill_resume.py --output docs/reports

A small segmenter is trained by `espmedsam train` on images that the script makes, once without
an interruption, and once killed at moments drawn at random: while it starts, while it trains, and
just when a file is being written. The same command is given again after each kill. After each,
every file in the run's folder must be readable to its end; in the end the curve must be complete
and of one line per epoch, no kill may have cost more than the epoch that it fell into, and the
weights must be those of the run that was left alone.
"""

import argparse
import csv
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np
import yaml
from PIL import Image

COMMAND = [sys.executable, "-m", "keras_espmedsam.cli.main", "train"]
MOMENTS = ("starting", "training", "writing")


def make_data(folder):
    """Eight images with a bright disc, and their index."""
    rng = np.random.default_rng(0)
    rows = ["split,modality,dataset,image,mask"]
    y, x = np.mgrid[:32, :32]
    for i in range(8):
        centre = rng.uniform(10, 22, 2)
        mask = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < rng.uniform(5, 9) ** 2
        image = rng.integers(0, 90, (32, 32, 3)) + 120 * mask[..., None]
        Image.fromarray(image.astype("uint8")).save(folder / f"{i}.png")
        Image.fromarray(mask.astype("uint8") * 255).save(folder / f"{i}_mask.png")
        rows.append(f"{'val' if i > 5 else 'train'},xray,discs,{i}.png,{i}_mask.png")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")


def write_config(folder, epochs):
    """The configuration of a model that takes a fraction of a second per epoch."""
    config = {
        "output": "unnamed",
        "seed": 5,
        "model": {
            "encoder": {
                "kind": "tic",
                "hidden_dims": [16],
                "depths": [1],
                "num_heads": [1],
                "kernel_size": 3,
                "neck_dim": 16,
                "output_stride": 16,
            },
            "decoder": {
                "transformer_depth": 1,
                "transformer_num_heads": 2,
                "transformer_mlp_dim": 512,
            },
            "modalities": ["xray", "fundus"],
        },
        "data": {"sources": [{"index": str(folder / "index.csv")}]},
        "phases": [
            {
                "image_size": 32,
                "epochs": epochs,
                "steps": 4,
                "batch_size": 4,
                "learning_rate": {"rate": 2e-3, "schedule": "cosine"},
            }
        ],
    }
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def start(config, output, log):
    """Give the command; what it prints goes to a file."""
    return subprocess.Popen(
        [*COMMAND, str(config), "--output", str(output)],
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def begun(log):
    """The epochs that were begun, as a log says."""
    text = log.read_text(errors="replace")
    return [int(number) for number in re.findall(r"^Epoch (\d+)/", text, re.MULTILINE)]


def read_whole(output):
    """Read every file of a run to its end.

    Gives how many could be read, what is wrong with the others, and the names of files that were
    being written and were not yet in their place.
    """
    read, damaged, unfinished = 0, [], set()
    for path in sorted(output.rglob("*")):
        if path.is_dir() or path.name == ".lock":
            continue
        if any(part.startswith(".writing-") for part in path.relative_to(output).parts):
            unfinished.add(path.name)
            continue
        try:
            READERS[path.suffix](path)
        except Exception as error:  # Each library has its own for a file that is cut.
            damaged.append(f"{path.name}: {error!r}")
        else:
            read += 1
    return read, damaged, unfinished


def read_arrays(path):
    with np.load(path, allow_pickle=False) as file:
        for name in file.files:
            file[name].sum()


def read_curve(path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if any(None in row.values() or None in row for row in rows):
        raise ValueError("a line is cut")
    if [int(row["epoch"]) for row in rows] != list(range(1, len(rows) + 1)):
        raise ValueError("an epoch is missing or there twice")


def read_image(path):
    with Image.open(path) as image:
        image.load()


def read_text(path):
    if not yaml.safe_load(path.read_text()):
        raise ValueError("it is empty")


def weights(path):
    """All arrays of a weights file by name."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.update({name: item[()]}) if hasattr(item, "shape") else None
        )
    return found


READERS = {
    ".npz": read_arrays,
    ".h5": weights,
    ".csv": read_curve,
    ".png": read_image,
    ".yaml": read_text,
    ".json": read_text,
}


def state_epoch(output):
    """How many epochs the state holds."""
    paths = list(output.glob("*/state.npz"))
    if not paths:
        return 0
    with np.load(paths[0]) as file:
        return json.loads(file["information"].tobytes())["information"]["epoch"]


def kill_once(process, log, output, rng, moment, start_seconds):
    """Wait for a moment of the given kind and kill; gives whether the run was still going on."""
    if moment == "starting":
        deadline = time.monotonic() + rng.uniform(0, start_seconds)
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
    else:
        while not begun(log) and process.poll() is None:
            time.sleep(0.02)
        if moment == "training":
            deadline = time.monotonic() + rng.uniform(0, 3)
            while time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.005)
        else:
            seen, wanted = set(), rng.randint(1, 12)
            while len(seen) < wanted and process.poll() is None:
                seen.update(path.name for path in output.glob("*/.writing-*"))
                time.sleep(0.0002)
    going_on = process.poll() is None
    if going_on:
        process.send_signal(signal.SIGKILL)
    process.wait()
    return going_on


def largest_difference(ours, theirs):
    """Over all arrays of two weights files."""
    one, other = weights(ours), weights(theirs)
    assert one.keys() == other.keys() and one
    return max(float(np.abs(one[name] - other[name]).max()) for name in one if one[name].size)


def run(folder, kills, epochs, seed):
    """Both runs; gives a row per kill and a summary."""
    rng = random.Random(seed)
    make_data(folder)
    config = write_config(folder, epochs)
    whole, killed = folder / "whole", folder / "killed"
    log = folder / "whole.log"
    began = time.monotonic()
    with log.open("w") as file:
        process = start(config, whole, file)
        while not begun(log) and process.poll() is None:
            time.sleep(0.05)
        start_seconds = time.monotonic() - began
        assert process.wait() == 0, log.read_text()
    print(
        f"Uninterrupted: {time.monotonic() - began:.0f} s, {start_seconds:.0f} s of them to start"
    )
    rows, last, damaged, left = [], 0, [], set()
    moments = [MOMENTS[i % 3] if i else "training" for i in range(kills)]
    for number, moment in enumerate(moments, start=1):
        log = folder / f"killed_{number}.log"
        with log.open("w") as file:
            process = start(config, killed, file)
            going_on = kill_once(process, log, killed, rng, moment, start_seconds)
        assert going_on, f"The run ended before kill {number}: {log.read_text()[-500:]}"
        found = begun(log)
        # Never before the epoch that was in work, never an epoch left out.
        assert not found or found[0] in (last, last + 1) or last == 0, (found, last)
        repeated = int(bool(found) and found[0] == last)
        assert found == sorted(set(found)), found
        last = found[-1] if found else last
        read, wrong, unfinished = read_whole(killed)
        damaged += wrong
        # A kill while the program starts finds what the one before has left.
        writing, left = unfinished - left, unfinished
        kept = state_epoch(killed)
        assert last - 1 <= kept <= last, (kept, last)
        rows.append(
            {
                "kill": number,
                "while": moment,
                "in epoch": last,
                "epochs kept": kept,
                "epoch repeated on this start": repeated,
                "files read whole": read,
                "being written": ", ".join(sorted(name.split(".", 2)[2] for name in writing)),
            }
        )
        print(rows[-1], flush=True)
    log = folder / "killed_end.log"
    with log.open("w") as file:
        assert start(config, killed, file).wait() == 0, log.read_text()
    damaged += read_whole(killed)[1]
    name = "1-phase"
    with (
        (killed / name / "curves.csv").open() as ours,
        (whole / name / "curves.csv").open() as all_,
    ):
        curves = [list(csv.DictReader(file)) for file in (ours, all_)]
    assert [int(row["epoch"]) for row in curves[0]] == list(range(1, epochs + 1))
    print(*damaged, sep="\n")
    summary = {
        "backend": os.environ.get("KERAS_BACKEND", "default"),
        "kills": kills,
        "kills while a file was being written": sum(bool(row["being written"]) for row in rows),
        "epochs": epochs,
        "epochs repeated in all": sum(row["epoch repeated on this start"] for row in rows)
        + int(begun(log)[0] == last),
        "files found damaged": len(damaged),
        "curve equals the uninterrupted one": curves[0] == curves[1],
        "largest difference of the last weights": largest_difference(
            killed / name / "last.weights.h5", whole / name / "last.weights.h5"
        ),
        "largest difference of the preset": largest_difference(
            killed / "preset" / "model.weights.h5", whole / "preset" / "model.weights.h5"
        ),
    }
    return rows, summary


def write_report(output, rows, summary):
    """`kill_resume.json` and `kill_resume.md`."""
    report = {"summary": summary, "rows": rows}
    (output / "kill_resume.json").write_text(json.dumps(report, indent=2) + "\n")
    lines = [
        "# A run killed again and again",
        "",
        "`benchmarks/kill_resume.py`: the same command, `espmedsam train`, given again after each",
        "SIGKILL. Each file in the run's folder was read to its end after each kill; what was",
        "being written at the moment lay beside the file that it was to replace.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {key} | {value} |" for key, value in summary.items()),
        "",
        "| " + " | ".join(rows[0]) + " |",
        "|" + "---|" * len(rows[0]),
        *("| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows),
    ]
    (output / "kill_resume.md").write_text("\n".join(lines) + "\n")


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, help="folder for kill_resume.md and .json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows, summary = run(pathlib.Path(folder), arguments.kills, arguments.epochs, arguments.seed)
    for key, value in summary.items():
        print(f"{key}: {value}")
    if arguments.output:
        write_report(arguments.output, rows, summary)


if __name__ == "__main__":
    main()
