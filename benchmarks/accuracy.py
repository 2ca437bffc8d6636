"""Train, measure and compare the systems of docs/reports/systems.md.

    python benchmarks/accuracy.py list
    python benchmarks/accuracy.py train SYSTEM        # its commands, one after the other
    python benchmarks/accuracy.py measure SYSTEM      # its preset, on test and unseen
    python benchmarks/accuracy.py time                # of one image by each that was measured
    python benchmarks/accuracy.py report              # docs/reports/systems.md from all of it

ESPMEDSAM_DATA is the folder that holds index.csv. Runs go to runs/SYSTEM, in the repository or in
the folder ESPMEDSAM_WORK, and go on after any interruption; measures of each image go to
docs/reports/results/SYSTEM.json, learning curves beside them. The test and unseen splits are read
by `measure` alone.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import resource
import shlex
import shutil
import subprocess
import sys

import numpy as np
import yaml

from keras_espmedsam.data import atomic_path

ROOT = pathlib.Path(__file__).resolve().parents[1]
WORK = pathlib.Path(os.environ.get("ESPMEDSAM_WORK") or ROOT)
CONFIGS = "examples/configs/nano_256"
RESULTS = ROOT / "docs" / "reports" / "results"
SPLITS = ("test", "unseen")
BINS = 20
DATASETS = {
    "cvc_clinicdb": "colonoscopy",
    "isic2018": "dermoscopy",
    "drive": "fundus",
    "dsb2018": "microscopy",
    "busi": "ultrasound",
    "shenzhen": "xray",
}
# Those of the configurations.
SHARES = {
    "cvc_clinicdb": 0.26,
    "isic2018": 0.16,
    "drive": 0.14,
    "dsb2018": 0.12,
    "busi": 0.22,
    "shenzhen": 0.10,
}


@dataclasses.dataclass(frozen=True)
class System:
    """What is trained, and how.

    Args:
        title: str. What it is called in the tables.
        commands: list of command lines; `espmedsam` and `python` are this environment's.
        modality: str. The one that it takes all images for; empty for their own.
        specialists: dict of modality to preset, in place of one preset.
    """

    title: str
    commands: tuple
    modality: str = ""
    specialists: dict | None = None


def _set(*changes):
    return "".join(f" --set {shlex.quote(change)}" for change in changes)


def _distilled(output, distill=(), finetune=(), both=()):
    """The commands of the published recipe, with changes."""
    return (
        f"espmedsam distill {CONFIGS}/distill.yaml"
        + _set(f"output=runs/{output}_distilled", *distill, *both),
        f"espmedsam train {CONFIGS}/finetune.yaml"
        + _set(
            f"output=runs/{output}",
            f"model.preset=runs/{output}_distilled/preset",
            *finetune,
            *both,
        ),
    )


def _specialist(dataset):
    """The recipe on one data set, in the share of the steps that it has among all."""
    steps = round(100 * SHARES[dataset])
    name = f"[{dataset}]"
    # That of the other sets would be refused: their images are not there.
    configuration = yaml.safe_load((ROOT / CONFIGS / "finetune.yaml").read_text(encoding="utf-8"))
    augmentation = {dataset: configuration["augmentation"][dataset]}
    return _distilled(
        f"specialists/{DATASETS[dataset]}",
        distill=(
            f"common_data.sources.0.datasets={name}",
            *(f"phases.{i}.learning_rate.warmup_steps=5" for i in (0, 1)),
            f"phases.0.steps={steps}",
            f"phases.1.steps={round(1.5 * steps)}",
        ),
        finetune=(
            "phases.0.learning_rate.warmup_steps=20",
            f"phases.0.steps={steps}",
            "augmentation=" + json.dumps(augmentation, separators=(",", ":")),
        ),
        both=(f"data.sources.0.datasets={name}", "data.weights=null"),
    )


SYSTEMS = {
    # Also the medical teacher of those below.
    "labels": System(
        "labels only",
        (f"espmedsam train {CONFIGS}/labels.yaml",),
    ),
    "nano": System("the recipe in the paper's phases", _distilled("nano")),
    # As much time as teacher and student have together.
    "labels_long": System(
        "labels only, trained longer",
        (
            f"espmedsam train {CONFIGS}/finetune.yaml"
            + _set("output=runs/labels_long", "model.preset=runs/labels/preset")
            + _set("phases.0.epochs=15"),
        ),
    ),
    # The same fine-tuning once more: nano learns as long after its recipe as labels_long does.
    "nano_long": System(
        "the recipe, fine-tuned longer",
        (
            *_distilled("nano"),
            f"espmedsam train {CONFIGS}/finetune.yaml"
            + _set("output=runs/nano_long", "model.preset=runs/nano/preset")
            + _set("phases.0.epochs=15"),
        ),
    ),
    # All images are dermoscopy to it: the other controllers and queries learn nothing.
    "shared": System(
        "one shared controller and query",
        _distilled("shared", both=("data.sources.0.modality=dermoscopy",)),
        modality="dermoscopy",
    ),
    "no_prompts": System(
        "without self-prompts",
        _distilled("no_prompts", distill=("student.decoder.self_prompts=false",)),
    ),
    "specialists": System(
        "six specialists",
        tuple(command for dataset in DATASETS for command in _specialist(dataset)),
        specialists={
            modality: f"runs/specialists/{modality}/preset" for modality in DATASETS.values()
        },
    ),
    # Half as many steps of its 256 x 256 phase in an epoch: as much time as the others have.
    "unet": System(
        "U-Net",
        (
            f"python benchmarks/unet.py {CONFIGS}/labels.yaml"
            + _set("output=runs/unet", "phases.0.epochs=5", "phases.1.epochs=9")
            + _set("phases.1.steps=50"),
        ),
        modality="any",
    ),
}


def train(name):
    """Run the commands of a system and add the CPU time that they take to runs/NAME.cpu.json."""
    path = _cpu_file(name)
    spent = json.loads(path.read_text()) if path.exists() else {}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for command in SYSTEMS[name].commands:
        program, *arguments = shlex.split(command)
        argv = [sys.executable] if program == "python" else [_program(program)]
        arguments = [
            str(ROOT / one) if one.startswith(("examples/", "benchmarks/")) else one
            for one in arguments
        ]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([*argv, *arguments], cwd=WORK, env=environment).returncode
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        spent[command] = spent.get(command, 0) + used
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(spent, indent=1) + "\n", encoding="utf-8")
        if done:
            raise SystemExit(f"{command}: exit status {done}; give the same command again.")


def _presets(name):
    """dict of modality to preset; one of all modalities is under the empty name."""
    return SYSTEMS[name].specialists or {"": f"runs/{name}/preset"}


def _cpu_file(name):
    # Beside its folder: that of a run must be empty before it begins.
    return WORK / "runs" / f"{name}.cpu.json"


def _program(name):
    beside = pathlib.Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name) or name


def measure(name):
    """Measure a system on all of test and unseen, into docs/reports/results/NAME.json."""
    import keras

    import keras_espmedsam as kem
    from keras_espmedsam.data import read_index

    system = SYSTEMS[name]
    if name == "unet":
        import unet  # noqa: F401  Registers its class.
    data = pathlib.Path(os.environ["ESPMEDSAM_DATA"])
    records = read_index(data / "index.csv", SPLITS)
    images, calibration = [], {}

    def each(record, truth, probabilities, measures):
        images.append(
            {
                **{"split": record.split, "dataset": record.dataset},
                **({"target": record.targets[0].target} if record.targets else {}),
                "image": pathlib.Path(record.image).relative_to(data).as_posix(),
                **{key: round(float(value), 4) for key, value in measures.items()},
            }
        )
        counts = calibration.setdefault(record.dataset, np.zeros((3, BINS)))
        bins = np.minimum((probabilities * BINS).astype(int), BINS - 1).ravel()
        for row, weights in enumerate((None, probabilities.ravel(), truth.ravel() != 0)):
            counts[row] += np.bincount(bins, weights, minlength=BINS)

    presets = _presets(name)
    for modality, preset in presets.items():
        segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(str(WORK / preset))
        chosen = [r for r in records if modality in ("", r.modality)]
        if system.modality:
            chosen = [dataclasses.replace(r, modality=system.modality) for r in chosen]
        kem.evaluation.evaluate(segmenter, chosen, each=each)
    cpu = _cpu_file(name)
    spent = json.loads(cpu.read_text()) if cpu.exists() else {}
    result = {
        "title": system.title,
        "commands": list(system.commands),
        "cpu_seconds": sum(spent.values()) or None,
        "keras": f"{keras.__version__}, {keras.backend.backend()}",
        "machine": f"{platform.machine()}, one of {os.cpu_count()} CPU cores",
        **compute(segmenter),  # Specialists are all alike.
        "networks": len(presets),
        "calibration": {
            dataset: [[round(float(x), 1) for x in row] for row in counts]
            for dataset, counts in calibration.items()
        },
        "images": images,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    with atomic_path(RESULTS / f"{name}.json") as temporary:
        temporary.write_text(_one_image_per_line(result), encoding="utf-8")
    _keep_curves(name)
    for split in SPLITS:
        print(split, means(images, split))


def _keep_curves(name):
    """The learning curves of a system's runs, into docs/reports/results/curves."""
    for run in (WORK / "runs" / name, WORK / "runs" / f"{name}_distilled"):
        for curves in sorted(run.glob("**/curves.csv")):
            parts = curves.parent.relative_to(WORK / "runs").parts
            target = RESULTS / "curves" / f"{'-'.join(parts)}.csv"
            with atomic_path(target) as temporary:
                shutil.copyfile(curves, temporary)


def _one_image_per_line(result):
    """JSON in which git and people see each image by itself."""
    head = json.dumps({**result, "images": []}, indent=1)
    images = ",\n".join("  " + json.dumps(image) for image in result["images"])
    return head.replace('"images": []', f'"images": [\n{images}\n ]') + "\n"


def means(images, split, measure="dice"):
    """Mean of each data set of a split, and the mean of these."""
    sets = {}
    for image in images:
        if image["split"] == split:
            sets.setdefault(image["dataset"], []).append(image[measure])
    found = {name: round(float(np.mean(values)), 4) for name, values in sets.items()}
    return {**found, "mean": round(float(np.mean([np.mean(v) for v in sets.values()])), 4)}


def compute(segmenter, size=256):
    """Parameters, and on torch multiply-adds (GMAC) of one image of 256 x 256."""
    import keras

    inputs = _inputs(segmenter, size)
    segmenter.predict_on_batch(inputs)
    found = {"parameters": segmenter.count_params()}
    if keras.backend.backend() == "torch":
        from torch.utils.flop_counter import FlopCounterMode

        # The counter follows gradients to tell modules apart, and fails on some of Keras' tensors.
        segmenter.trainable = False
        with FlopCounterMode(display=False) as counter:
            keras.Model.predict_on_batch(segmenter, inputs)
        found["gmac"] = round(counter.get_total_flops() / 2e9, 3)
    return found


def _inputs(segmenter, size):
    inputs = {"images": np.zeros((1, size, size, 3), "float32")}
    if len(segmenter.modalities) > 1:
        inputs["modalities"] = np.zeros(1, "int32")
    return inputs


def measure_times(names, size=256, repeats=15):
    """Time each measured system on one image, in turn, into docs/reports/results/NAME.json."""
    import keras
    import unet  # noqa: F401  Registers its class.
    from interleaved import medians

    import keras_espmedsam as kem

    paths = {name: RESULTS / f"{name}.json" for name in names}
    calls = {}
    for name in (name for name, path in paths.items() if path.exists()):
        preset = str(WORK / next(iter(_presets(name).values())))
        segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(preset)
        inputs = _inputs(segmenter, size)
        calls[name] = lambda model=segmenter, x=inputs: keras.Model.predict_on_batch(model, x)
        calls[name]()
    for name, seconds in zip(calls, medians(calls.values(), repeats), strict=True):
        result = json.loads(paths[name].read_text(encoding="utf-8"))
        result["milliseconds"] = round(1000 * seconds, 1)
        with atomic_path(paths[name]) as temporary:
            temporary.write_text(_one_image_per_line(result), encoding="utf-8")
        print(name, result["milliseconds"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("list", "train", "measure", "time", "report"))
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help="all, where none is named")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.systems if name not in SYSTEMS]
    if unknown:
        parser.error(f"unknown system {unknown[0]}; known: {', '.join(SYSTEMS)}")
    if arguments.what in ("train", "measure") and "ESPMEDSAM_DATA" not in os.environ:
        parser.error("set ESPMEDSAM_DATA to the folder that holds index.csv")
    for name in arguments.systems or SYSTEMS:
        if arguments.what == "list":
            print(f"{name}: {SYSTEMS[name].title}", *SYSTEMS[name].commands, sep="\n  ")
        elif arguments.what == "train":
            train(name)
        elif arguments.what == "measure":
            measure(name)
    if arguments.what == "time":
        measure_times(arguments.systems or SYSTEMS)
    if arguments.what == "report":
        import accuracy_report

        accuracy_report.write(ROOT / "docs" / "reports", RESULTS, SYSTEMS)


if __name__ == "__main__":
    main()
