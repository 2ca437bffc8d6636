"""Rebuild the presets that the package ships from the data: trainings, measures, cards. Hours.

    ESPMEDSAM_DATA=DATA python tools/rebuild_presets.py --work FOLDER
    python tools/rebuild_presets.py --work FOLDER --list
    ESPMEDSAM_DATA=DATA python tools/rebuild_presets.py --work FOLDER --preset tic_tiny_modality

`make presets` is short for it. EFFICIENTNET_LITE0 is the file with ImageNet's weights that
docs/how-to/convert_checkpoints.md tells how to get. Trainings go to FOLDER/runs, outside of the
repository. If it is stopped, repeat the command: steps that are done are passed over, and a
training goes on from its last epoch. `--list` runs nothing and prints the steps. The last step of a
preset writes its folder in `presets/` with its card; where its weights have changed, that is a new
version, and the one before stays as NAME@VERSION. Look at `git status`, then store the outputs of
the new ones with `python tools/preset_outputs.py NAME`.
"""

import argparse
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time

from keras_espmedsam.data import atomic_path

ROOT = pathlib.Path(__file__).resolve().parents[1]
COMMIT = "COMMIT"
"""Stands for the commit with which a preset's first step was done."""
DATA = "$ESPMEDSAM_DATA/index.csv"
ALL_DATA = "$ESPMEDSAM_DATA/index2.csv"
BOTH = "--split test --split unseen"
TIC = ("python tools/build_presets.py tic",)
# Version 1 of the nano preset, which a card compares with.
FIRST_NANO = (
    "python benchmarks/accuracy.py train labels",
    "python benchmarks/accuracy.py train nano_long",
)
NANO = "espmedsam_nano_256"
# Of each preset, the commands in their order; a command that several have is run once. Paths of
# programs and configurations are those of the repository, all others those of the work folder.
RECIPES = {
    NANO: (
        "espmedsam convert efficientnet-lite $EFFICIENTNET_LITE0 "
        "--output weights/efficientnet_lite0",
        "espmedsam train examples/configs/pretrained.yaml",
        f"python tools/choose_image_sizes.py runs/pretrained/preset --data {ALL_DATA} --write",
        f"python tools/choose_postprocessing.py runs/pretrained/preset --data {ALL_DATA} --write",
        f"python benchmarks/preset_accuracy.py measure {NANO}@1",
        f"python benchmarks/preset_accuracy.py measure runs/pretrained/preset --name {NANO}@2",
        f"python benchmarks/error_kinds.py runs/pretrained/preset --name {NANO}@2",
        # Temperatures and the predicted quality. Guarantees hold for the place whose images they
        # were chosen on, and so for nobody who gets this preset: it has none.
        f"espmedsam calibrate --preset runs/pretrained/preset --data {ALL_DATA} --quality "
        "--output runs/pretrained/calibrated",
        f"python tools/fit_scope.py runs/pretrained/calibrated --data {ALL_DATA} --write",
        f"python benchmarks/guarantees.py predict runs/pretrained/preset --name {NANO}@2 "
        "--counts runs/pretrained/counts.npz",
        "python benchmarks/guarantees.py report --counts runs/pretrained/counts.npz",
        f"python benchmarks/trust.py measure --preset runs/pretrained/calibrated --name {NANO}@2 "
        "--output runs/pretrained/trust.json",
        "python benchmarks/trust.py report --input runs/pretrained/trust.json",
        "python benchmarks/scope.py measure --preset runs/pretrained/calibrated --input runs/scope",
        "python benchmarks/scope.py corrupt --preset runs/pretrained/calibrated --input runs/scope "
        f"--name {NANO}@2",
        "python benchmarks/scope.py report --preset runs/pretrained/calibrated --input runs/scope",
        f"python tools/build_presets.py nano --run runs/pretrained --commit {COMMIT}",
        "python benchmarks/preset_accuracy.py report",
    ),
    "espmedsam_tic_native": (
        *FIRST_NANO,
        "espmedsam train examples/configs/tic_native/train.yaml",
        # Its card compares the two.
        f"espmedsam evaluate --preset runs/nano_long/preset --data {DATA} {BOTH} "
        "--output runs/nano_long/report.json --resume",
        f"espmedsam evaluate --preset runs/tic_native/preset --data {DATA} {BOTH} "
        "--output runs/tic_native/report.json --resume",
        "python tools/build_presets.py native --run runs/tic_native "
        f"--nano-report runs/nano_long/report.json --commit {COMMIT}",
    ),
    "espmedsam_tinyvit_1024": ("python tools/build_presets.py tinyvit",),
    "tic_base": TIC,
    "tic_small": TIC,
    "tic_tiny": TIC,
    "tic_tiny_modality": (
        "python tools/train_modality.py --output runs/modality",
        "python tools/train_modality.py --output runs/modality --evaluate",
        f"python tools/build_presets.py modality --run runs/modality --commit {COMMIT}",
    ),
}


def steps(presets):
    """dict of each command, in the order in which they run, to the presets that need it."""
    found = {}
    for preset in presets:
        for command in RECIPES[preset]:
            found.setdefault(command, []).append(preset)
    return found


def argv(command, commit):
    """A command's arguments, as they are given to the system."""
    program, *arguments = shlex.split(command)
    if program == "python":
        program = sys.executable
    else:
        beside = pathlib.Path(sys.executable).with_name(program)
        program = str(beside) if beside.exists() else shutil.which(program) or program
    for number, one in enumerate(arguments):
        if one.startswith(("benchmarks/", "examples/", "tools/")):
            arguments[number] = str(ROOT / one)
        arguments[number] = os.path.expandvars(arguments[number]).replace(COMMIT, commit)
    return [program, *arguments]


def done_steps(work):
    """dict of the commands that are done to their commit and seconds."""
    path = work / "presets.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def run(command, work, commit):
    """Run a command in the work folder, and note that it is done.

    Raises:
        SystemExit: when it fails.
    """
    print(command, flush=True)
    environment = {**os.environ, "ESPMEDSAM_WORK": str(work)}
    begin = time.monotonic()
    status = subprocess.run(argv(command, commit), cwd=work, env=environment).returncode
    if status:
        raise SystemExit(f"{command}: exit status {status}; repeat the command to go on from here.")
    done = done_steps(work)
    done[command] = {"commit": commit, "seconds": round(time.monotonic() - begin)}
    with atomic_path(work / "presets.json") as temporary:
        temporary.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")


def head():
    """The commit of the repository, and whether anything has been changed since."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return said.stdout.strip()


def main(arguments=None):
    """Run the steps that are not done."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", help="folder for the runs, outside of the repository")
    parser.add_argument(
        "--preset", action="append", choices=list(RECIPES), help="only this; may be repeated"
    )
    parser.add_argument("--list", action="store_true", help="print the steps, and run nothing")
    options = parser.parse_args(arguments)
    if not options.work:
        parser.error("give a folder for the runs, outside of the repository: make presets WORK=DIR")
    work = pathlib.Path(options.work).resolve()
    if work.is_relative_to(ROOT):
        parser.error(f"{work} is in the repository; give a folder outside of it.")
    wanted = steps(options.preset or list(RECIPES))
    if options.list:
        done = done_steps(work)
        for command, presets in wanted.items():
            state = f"done in {done[command]['seconds']} s" if command in done else "to do"
            print(f"{', '.join(presets)}: {state}\n    {command}")
        return
    if any("$ESPMEDSAM_DATA" in command or "train" in command for command in wanted):
        data = pathlib.Path(os.environ.get("ESPMEDSAM_DATA", "")).resolve()
        if not all((data / name).is_file() for name in ("index.csv", "index2.csv")):
            parser.error("set ESPMEDSAM_DATA to the folder that holds index.csv and index2.csv.")
        os.environ["ESPMEDSAM_DATA"] = str(data)
    if any("$EFFICIENTNET_LITE0" in command for command in wanted.keys() - done_steps(work)):
        weights = pathlib.Path(os.environ.get("EFFICIENTNET_LITE0", "")).resolve()
        if not weights.is_file():
            parser.error(
                "set EFFICIENTNET_LITE0 to the file with ImageNet's weights; "
                "docs/how-to/convert_checkpoints.md tells how to get it."
            )
        os.environ["EFFICIENTNET_LITE0"] = str(weights)
    work.mkdir(parents=True, exist_ok=True)
    now = head()
    for command, presets in wanted.items():
        done = done_steps(work)
        if command not in done:
            first = RECIPES[presets[0]][0]
            run(command, work, done.get(first, {}).get("commit", now))


if __name__ == "__main__":
    main()
