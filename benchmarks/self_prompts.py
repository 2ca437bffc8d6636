"""Self-prompts for the union of the targets of a modality beside self-prompts for each of them.

    ESPMEDSAM_DATA=/path/to/data KERAS_BACKEND=torch python benchmarks/self_prompts.py

Both begin as `espmedsam_nano_256` with optic disc and cup beside the vessels, and heart and
clavicles beside the lungs, and with the same weights: the maps of `each` begin as copies of the one
map, and only the first of them enters the prompt at first, so that both give the same masks. Then
both are trained by examples/configs/targets.yaml with the same images in the same order, and
measured on the test sets. The script writes self_prompts.json and the page self_prompts.md. A run
that was interrupted goes on when the command is repeated.
"""

import argparse
import json
import os
import pathlib

import keras
import numpy as np
from targets import NAMES, TARGETS, dice_by_target, load, others, shown_dice, train

import keras_espmedsam as kem

KINDS = ("union", "each")


def with_targets():
    """The preset with its further targets, all begun as the first of their modality."""
    segmenter = load("espmedsam_nano_256@1")
    segmenter.name_targets(NAMES)
    for modality, (first, *further) in TARGETS.items():
        nested = {"optic_cup": "optic_disc"} if modality == "fundus" else None
        segmenter = segmenter.add_target(
            modality, further, init_from=first, adapter_dim=16, nested=nested, freeze=False
        )
    return segmenter


def with_maps_for_each(union):
    """The same segmenter with a map of self-prompts for each target."""
    config = {**union.backbone.get_config(), "self_prompt_targets": "each"}
    backbone = type(union.backbone).from_config(config)
    for old, new in zip(union.backbone.weights, backbone.weights, strict=True):
        value = np.array(keras.ops.convert_to_numpy(old))
        if value.shape != tuple(new.shape):
            (axis,) = np.flatnonzero(np.array(value.shape) != np.array(new.shape))
            more = np.repeat(value, new.shape[axis], axis=axis)
            if axis == 2:  # The prompt's kernel: further maps change nothing until it is trained.
                more[:, :, 1:] = 0
            value = more
        new.assign(value)
    return type(union)(backbone, union.preprocessor, postprocessing=union.postprocessing)


def settings(start, output, steps, batch_size, epochs, seed):
    """The `--set` of a training from a preset that has all targets already."""
    rate = f"{{rate: 1e-3, schedule: cosine, warmup_steps: {steps // 12}, final_rate: 1e-6}}"
    phase = {"steps": steps // epochs, "epochs": epochs, "batch_size": batch_size}
    phase["learning_rate"] = rate
    return [
        f"model.preset={start}",
        "model.name_targets=null",
        "model.add_targets=null",
        "model.nested=null",
        f"seed={seed}",
        *(f"phases.0.{key}={value}" for key, value in phase.items()),
        f"output={output}",
    ]


PAGE = """# Self-prompts for the union of the targets, or for each

Written by `benchmarks/self_prompts.py`; all figures are in [self_prompts.json](self_prompts.json).
A modality with several targets has one map of self-prompts, of patches that hold any of them
(`self_prompt_targets="union"`), or one map for each target (`"each"`).

{tables}
Both begin with the same weights and the same masks as `espmedsam_nano_256` with four further
targets, and are trained on the same images in the same order, {steps} batches of {batch_size},
everything trained. The Dice of a target is the mean over its test sets. The mean of `each` is
{difference:+.3f} from that of `union`.

{conclusion}

## How

    ESPMEDSAM_DATA=DATA KERAS_BACKEND=torch OMP_NUM_THREADS=1 \\
        python benchmarks/self_prompts.py --output runs/self_prompts --steps {steps} \\
        --batch-size {batch_size} --seeds {seeds}

One core of a 2-core x86_64 machine without GPU, Keras {keras} on torch, beside other work. AdamW,
cosine decay from 0.001, the best of {epochs} epochs on val. Seeds: {seeds}. With one seed a
difference of a point or two may be chance.
"""

CONCLUSION = """No image of a retina labels all three targets, so that the union is known nowhere
there, and its self-prompts learn nothing new; those for each target learn from every image what it
labels. A model with a map for each target cannot be given another target later (`add_target`):
unless `each` is clearly better, `union` is the default."""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/self_prompts"))
    parser.add_argument("--steps", type=int, default=240, help="batches of each model")
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--page", type=pathlib.Path, help="folder of the report, such as docs/reports"
    )
    args = parser.parse_args()
    if args.steps % args.epochs:
        parser.error(f"received --steps {args.steps}; expected a multiple of {args.epochs}")
    index = pathlib.Path(os.environ["ESPMEDSAM_DATA"]) / "index2.csv"
    starts = {kind: args.output / f"start_{kind}" for kind in KINDS}
    if not all((folder / "preset.json").exists() for folder in starts.values()):
        union = with_targets()
        for kind, model in zip(KINDS, (union, with_maps_for_each(union)), strict=True):
            model.save_to_preset(str(starts[kind]))
    targets = [target for its in TARGETS.values() for target in its]
    runs = []
    for seed in args.seeds:
        for kind in KINDS:
            output = args.output / f"{kind}_{seed}"
            options = (args.steps, args.batch_size, args.epochs, seed)
            train(f"{kind}, seed {seed}", settings(starts[kind], output, *options))
            model = load(output / "preset")
            dice = dice_by_target(model, targets, index)
            runs.append({"kind": kind, "seed": seed, "dice": dice, "others": others(model, index)})
    report = {"steps": args.steps, "batch_size": args.batch_size, "runs": runs}
    means = {}
    for part in ("dice", "others"):
        means[part] = {
            kind: {
                name: float(np.mean([run[part][name] for run in runs if run["kind"] == kind]))
                for name in runs[0][part]
            }
            for kind in KINDS
        }
    report["means"] = means
    overall = {kind: np.mean(list(row.values())) for kind, row in means["dice"].items()}
    page = PAGE.format(
        tables=shown_dice(means),
        steps=args.steps,
        batch_size=args.batch_size,
        epochs=args.epochs,
        seeds=" ".join(map(str, args.seeds)),
        keras=keras.__version__,
        difference=overall["each"] - overall["union"],
        conclusion=CONCLUSION,
    )
    folder = args.page or args.output
    for name, text in (
        ("self_prompts.json", json.dumps(report, indent=1)),
        ("self_prompts.md", page),
    ):
        with kem.data.atomic_path(folder / name) as path:
            path.write_text(text)
    print(page)


if __name__ == "__main__":
    main()
