"""One model of several targets beside one model for each, of the same budget together.

    ESPMEDSAM_DATA=/path/to/data KERAS_BACKEND=torch python benchmarks/targets.py

Every model begins as `espmedsam_nano_256@1` and is trained by `espmedsam train`:

- `all`: six targets (vessels, optic disc and cup; lungs, heart and clavicles), everything trained,
  by examples/configs/targets.yaml, which draws the four other modalities at times;
- `added`: a quarter of the steps, in which only the four new targets are trained;
- `only_TARGET`: a model of that target alone, everything trained, a sixth of the steps.

`--steps` is the budget of each system, in batches. Then all are measured on the test sets, and the
script writes targets.json and the page targets.md: the Dice of each target, what became of the old
targets, and the time of an image with three targets beside three times one target. A run that was
interrupted goes on when the command is repeated.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

import keras
import numpy as np

import keras_espmedsam as kem

CONFIG = pathlib.Path(__file__).parents[1] / "examples" / "configs" / "targets.yaml"
TARGETS = {
    "fundus": ("vessels", "optic_disc", "optic_cup"),
    "xray": ("lungs", "heart", "clavicles"),
}
NAMES = {"dermoscopy": "lesion", "ultrasound": "lesion", "microscopy": "nuclei"}
NAMES |= {"colonoscopy": "polyp", "fundus": "vessels", "xray": "lungs"}
OLD = ("isic2018", "busi", "dsb2018", "cvc_clinicdb")
SETS = {
    "vessels": ("drive", "hrf", "les_av"),
    "optic_disc": ("drishti_gs",),
    "optic_cup": ("drishti_gs",),
    "lungs": ("jsrt", "shenzhen"),
    "heart": ("jsrt",),
    "clavicles": ("jsrt",),
}
PRESET = "espmedsam_nano_256@1"


def commands(steps, batch_size, output):
    """The `--set` of each system, by name."""
    each, rest = divmod(steps, sum(map(len, TARGETS.values())))
    if rest:
        raise SystemExit(f"Received --steps {steps}; expected a multiple of 6.")
    epochs = 6

    def budget(number):
        rate = f"{{rate: 1e-3, schedule: cosine, warmup_steps: {number // 12}, final_rate: 1e-6}}"
        phase = [f"steps={number // epochs}", f"epochs={epochs}", f"batch_size={batch_size}"]
        return [f"phases.0.{one}" for one in (*phase, f"learning_rate={rate}")]

    found = {"all": budget(steps), "added": [*budget(steps // 4), "model.train_only=added"]}
    for modality, targets in TARGETS.items():
        for target in targets:
            found[f"only_{target}"] = [
                *budget(each),
                "model.add_targets=null",
                "model.nested=null",
                f"model.name_targets={{{modality}: {target}}}",
                f"data.sources.0.datasets=[{', '.join(SETS[target])}]",
                f"data.sources.0.targets={{{modality}: [{target}]}}",
                "data.weights=null",
            ]
    return {name: [*sets, f"output={output / name}"] for name, sets in found.items()}


def train(name, sets):
    """Train one system by the command, unless it is done."""
    output = pathlib.Path(sets[-1].removeprefix("output="))
    if (output / "preset").is_dir():
        return
    print(f"=== {name}", flush=True)
    arguments = [part for one in sets for part in ("--set", one)]
    command = [sys.executable, "-m", "keras_espmedsam.cli.main", "train", str(CONFIG), *arguments]
    began = time.monotonic()
    subprocess.run(command, check=True)
    print(f"=== {name}: {time.monotonic() - began:.0f} s", flush=True)


def load(folder):
    return kem.models.ESPMedSAMImageSegmenter.from_preset(str(folder))


def dice_by_target(segmenter, targets, index):
    """The mean Dice of each target, a mean of its test sets."""
    found = {}
    for target in targets:
        modality = next(name for name, its in TARGETS.items() if target in its)
        chosen = {modality: [target]}
        records = kem.data.read_index(index, ["test"], list(SETS[target]), targets=chosen)
        report = kem.evaluation.evaluate(segmenter, records, metrics=["dice"])
        found[target] = float(np.mean([row["dice"]["mean"] for row in report["datasets"].values()]))
    return found


def others(segmenter, index):
    """The mean Dice of the modalities that have no new target."""
    records = kem.data.read_index(index, ["test"], list(OLD))
    report = kem.evaluation.evaluate(segmenter, records, metrics=["dice"])
    return {name: row["dice"]["mean"] for name, row in report["datasets"].items()}


def largest_difference(old, new, index):
    """The largest difference of a probability of the old targets, on images of every modality."""
    largest = 0.0
    for modality, target in NAMES.items():
        sets = [*OLD, "drive", "jsrt"]
        records = kem.data.read_index(index, ["test"], sets, targets={modality: [target]})
        images = [
            kem.data.read_image(record.image).array
            for record in records
            if record.modality == modality
        ][:4]
        before, after = (model.segment(images, modality)["probabilities"] for model in (old, new))
        for a, b in zip(before, after, strict=True):
            b = b[..., 0] if b.ndim == 3 else b
            largest = max(largest, float(np.abs(a - b).max()))
    return largest


def shortest(*calls, repeats=25):
    """The shortest time of each, in turns: other work can only lengthen them."""
    found = [[] for _ in calls]
    for _ in range(repeats):
        for call, times in zip(calls, found, strict=True):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
    return [min(times) for times in found]


def times(several, single):
    """Seconds of a fundus image: one target, three at once, and three models one after another."""
    image = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), dtype="uint8")
    several, single = several.specialize("fundus"), single.specialize("fundus")
    x = single.preprocessor({"images": image})
    one, three = shortest(lambda: single.predict_prepared(x), lambda: several.predict_prepared(x))
    return {"one": one, "three_at_once": three, "ratio": three / (3 * one)}


def measure(output, index):
    """Measure every system, and return the report."""
    systems = ["all", "added"]
    new = {name: output / name / "preset" for name in systems}
    targets = [target for its in TARGETS.values() for target in its]
    preset = load(PRESET)
    preset.name_targets(NAMES)
    report = {"dice": {}, "others": {}, "old_masks": {}}
    report["dice"]["preset"] = dice_by_target(preset, ["vessels", "lungs"], index)
    report["others"]["preset"] = others(preset, index)
    for name, folder in new.items():
        model = load(folder)
        report["dice"][name] = dice_by_target(model, targets, index)
        report["others"][name] = others(model, index)
        report["old_masks"][name] = largest_difference(preset, model, index)
    report["dice"]["one model each"] = {
        target: dice_by_target(load(output / f"only_{target}" / "preset"), [target], index)[target]
        for target in targets
    }
    return report


def shown_dice(report):
    """The Dice of each target and of the other sets as Markdown tables, a row for each system."""
    targets = [target for its in TARGETS.values() for target in its]
    lines = [f"| Dice on test | {' | '.join(targets)} | mean |", "|---" * (len(targets) + 2) + "|"]
    for name, row in report["dice"].items():
        values = [f"{row[target]:.3f}" if target in row else "" for target in targets]
        mean = f"{np.mean(list(row.values())):.3f}" if len(row) == len(targets) else ""
        lines.append(f"| {name} | {' | '.join(values)} | {mean} |")
    lines += ["", f"| Dice on test | {' | '.join(OLD)} |", "|---" * (len(OLD) + 1) + "|"]
    for name, row in report["others"].items():
        lines.append(f"| {name} | {' | '.join(f'{row[one]:.3f}' for one in OLD)} |")
    return "\n".join(lines) + "\n"


def shown(report):
    """The report as Markdown."""
    took = report["seconds"]
    return shown_dice(report) + (
        "\nLargest change of an old target's probability, on four test images of each modality: "
        f"{report['old_masks']['added']:.1e} for `added`, {report['old_masks']['all']:.1e} for "
        f"`all`.\n\nA fundus image of 256 x 256: {1000 * took['one']:.0f} ms for one target, "
        f"{1000 * took['three_at_once']:.0f} ms for three at once, which is {took['ratio']:.2f} of "
        "three models one after another (the shortest of 25 passes each, in turns).\n"
    )


PAGE = """# Several targets in one model

Written by `benchmarks/targets.py`; all figures are in [targets.json](targets.json).
Vessels, optic disc and cup of a retina, and lungs, heart and clavicles of a chest X-ray.

{tables}
`preset` is `espmedsam_nano_256` as it is. `all` trains everything for {steps} batches of
{batch_size}; `added` trains only the four new targets, for a quarter of that; `one model each` is a
model for each target, everything trained for a sixth of the batches, so that the six together had
the budget of `all`. All begin as the preset. The Dice of a target is the mean over its test sets:
vessels of drive, hrf and les_av, disc and cup of drishti_gs, lungs of jsrt and shenzhen, heart and
clavicles of jsrt.

A sixth of the images that `all` saw show other modalities, so that it does not forget them; it
forgets some all the same. `added` forgets nothing and learns little: features that were trained for
vessels and lungs say little about discs and hearts.

No set labels both vessels and the optic disc: each image says nothing about what it does not label,
and the model draws all three on every image.

## How

    ESPMEDSAM_DATA=DATA KERAS_BACKEND=torch OMP_NUM_THREADS=1 \\
        python benchmarks/targets.py --output runs/targets --steps {steps} --batch-size {batch_size}

One core of a 2-core x86_64 machine without GPU, Keras {keras} on torch, beside other work. AdamW,
cosine decay from 0.001, the best of 6 epochs on val, seed 0: one seed, so that a difference of a
point or two may be chance.
"""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/targets"))
    parser.add_argument("--steps", type=int, default=480, help="batches of each system")
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--only", nargs="*", help="systems to train; all by default")
    parser.add_argument("--measure", action="store_true", help="only measure")
    parser.add_argument("--times", action="store_true", help="only measure the times again")
    parser.add_argument(
        "--page", type=pathlib.Path, help="folder of the report, such as docs/reports"
    )
    args = parser.parse_args()
    index = pathlib.Path(os.environ["ESPMEDSAM_DATA"]) / "index2.csv"
    for name, sets in commands(args.steps, args.batch_size, args.output).items():
        if not (args.measure or args.times) and (args.only is None or name in args.only):
            train(name, sets)
    if args.only is None or args.measure:
        folder = args.page or args.output
        if args.times:
            report = json.loads((folder / "targets.json").read_text())
        else:
            report = measure(args.output, index)
        report["seconds"] = times(load(args.output / "all" / "preset"), load(PRESET))
        page = PAGE.format(
            tables=shown(report),
            steps=args.steps,
            batch_size=args.batch_size,
            keras=keras.__version__,
        )
        for name, text in (("targets.json", json.dumps(report, indent=1)), ("targets.md", page)):
            with kem.data.atomic_path(folder / name) as path:
                path.write_text(text)
        print(page)


if __name__ == "__main__":
    main()
