"""Compare ways to train on data sets that they have not seen.

    ESPMEDSAM_DATA=DATA python benchmarks/leave_one_out.py plan
    ESPMEDSAM_DATA=DATA KERAS_BACKEND=torch OMP_NUM_THREADS=1 \\
        python benchmarks/leave_one_out.py run --output runs/leave_one_out --steps 600
    python benchmarks/leave_one_out.py report --output runs/leave_one_out

`leave_one_out.yaml` lists the recipes, and `recipes.yaml` those of students with and without
teachers (`--recipes benchmarks/recipes.yaml`). Each is trained for each fold and seed, without one
data set of every modality that has several, and then measured on images of these sets (elsewhere)
and on the validation images of the sets that it was trained on (at home). Both are for choosing: no
image of another split than those that the configuration trains and validates on is read, so that
test and unseen images stay unseen.

A teacher is trained once for each fold, without the sets that the fold holds out; recipes and seeds
share it. Its steps come on top of a recipe's, which are those of the student alone.

A target can be measured in a set if another set that is trained on labels it, too. Modalities with
one set are trained on in every fold, and measured at home alone. Repeat a command to resume it:
what is trained and measured is kept, and a training goes on after its last epoch.
"""

import argparse
import dataclasses
import itertools
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
from typing import NamedTuple

import numpy as np

from keras_espmedsam.data import atomic_path
from keras_espmedsam.distillation.config import DistillConfig
from keras_espmedsam.errors import InputError
from keras_espmedsam.training.config.settings import load_settings
from keras_espmedsam.training.config.train_config import TrainConfig
from keras_espmedsam.training.config.yaml_text import read_yaml
from keras_espmedsam.training.data.read_sources import read_sources

ROOT = pathlib.Path(__file__).resolve().parents[1]
RECIPES = ROOT / "benchmarks" / "leave_one_out.yaml"
CONFIGS = {"train": TrainConfig, "distill": DistillConfig}
ELSEWHERE, HOME = "elsewhere", "home"


# In a change of a recipe: the preset of a teacher of the same file.
TEACHER = re.compile(r"\{teacher ([^}]+)\}")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One command of a recipe: `train` or `distill`, its configuration and what it changes."""

    command: str
    path: str
    changes: dict

    def settings(self, **changes):
        """The checked configuration, with further changes."""
        merged = {**self.changes, **changes}
        # Whether the preset of an earlier stage exists does not matter here.
        return load_settings(CONFIGS[self.command], ROOT / self.path, list(merged.items()))


class Recipe(NamedTuple):
    """Its stages, and the recipe of the same student that it is compared with."""

    stages: tuple
    base: str

    @property
    def teachers(self):
        """Names of the teachers that its stages learn from."""
        return set(TEACHER.findall(json.dumps([stage.changes for stage in self.stages])))


class Plan(NamedTuple):
    """What a file of recipes lists: `Recipe` by name, and the stages of each teacher."""

    name: str
    recipes: dict
    teachers: dict


def read_plan(path):
    """Return the `Plan` of a YAML file."""
    plan = read_yaml(path, f"The file {path}")
    teachers = {name: _stages(own) for name, own in plan.get("teachers", {}).items()}
    recipes = {}
    for student, of_student in plan.get("students", {"": {}}).items():
        base = None
        for name, changes in plan["recipes"].items():
            of_stages = changes if isinstance(changes, list) else [changes] * len(plan["stages"])
            if len(of_stages) != len(plan["stages"]):
                raise InputError(
                    f"The recipe {name} changes {len(of_stages)} stages, and there are "
                    f"{len(plan['stages'])}; give a mapping for each, or one for all."
                )
            name = f"{student}, {name}" if student else name
            base = base or name
            changes = [{**of_student, **own} for own in of_stages]
            recipes[name] = Recipe(_stages(plan["stages"], changes), base)
            unknown = recipes[name].teachers - set(teachers)
            if unknown:
                raise InputError(
                    f"The recipe {name} names the teacher {min(unknown)}; the file has "
                    f"{', '.join(teachers) or 'none'}."
                )
    return Plan(path.name, recipes, teachers)


def _stages(given, changes=None):
    stages = []
    for stage, own in zip(given, changes or [{}] * len(given), strict=True):
        (command,) = (key for key in stage if key in CONFIGS)
        stages.append(Stage(command, stage[command], {**stage.get("set", {}), **own}))
    return tuple(stages)


def labelled_by_set(records):
    """Return dict of (modality, data set) to the set of targets that its records label."""
    found = {}
    for record in records:
        own = found.setdefault((record.modality, record.dataset), set())
        own |= {one.target for one in record.target_masks}
    return found


def folds_of(records):
    """Return what each fold holds out: dict of (modality, data set) to the targets to measure.

    Fold k holds out the k-th data set of each modality that has so many that can be held out.
    """
    labelled = labelled_by_set(records)
    held: dict[str, list] = {}
    for (modality, dataset), targets in labelled.items():
        others = [
            own for (name, other), own in labelled.items() if name == modality and other != dataset
        ]
        measured = sorted(target for target in targets if any(target in own for own in others))
        if measured:
            held.setdefault(modality, []).append(((modality, dataset), measured))
    count = max(map(len, held.values()), default=0)
    return [dict(sets[k] for sets in held.values() if k < len(sets)) for k in range(count)]


def evenly(records, count):
    """Return at most `count` of the records, spread over all of them."""
    if count is None or len(records) <= count:
        return list(records)
    return [records[i] for i in np.linspace(0, len(records) - 1, count).round().astype(int)]


def to_measure(chosen, held, count):
    """Return the records to measure elsewhere and at home, of at most `count` images of each set.

    Args:
        chosen: dict of `train` and `val` records, as `read_sources` returns it.
        held: a fold of `folds_of`.
        count: int or None.
    """
    by_set: dict[tuple[str, str, str], list] = {}
    for record in (*chosen["train"], *chosen["val"]):
        key = (record.modality, record.dataset)
        if key in held:
            masks = tuple(one for one in record.target_masks if one.target in held[key])
            if masks:
                record = dataclasses.replace(record.without_masks(), targets=masks)
                by_set.setdefault((ELSEWHERE, *key), []).append(record)
    for record in chosen["val"]:
        key = (record.modality, record.dataset)
        if key not in held:
            by_set.setdefault((HOME, *key), []).append(record)
    return {
        where: [
            record
            for (place, *_), records in by_set.items()
            if place == where
            for record in evenly(sorted(records, key=lambda one: str(one.image)), count)
        ]
        for where in (ELSEWHERE, HOME)
    }


def budget_changes(settings, share):
    """Return the changes of a configuration that make it a share as long."""
    changes = {}
    for i, phase in enumerate(settings.phases):
        if phase.steps is None:
            raise InputError(
                f"Phase {i + 1} has no steps, so its length depends on the number of images; give "
                "it steps."
            )
        wanted = max(1, round(phase.epochs * phase.steps * share))
        epochs = max(1, round(wanted / phase.steps))
        changes[f"phases.{i}.epochs"] = epochs
        changes[f"phases.{i}.steps"] = max(1, round(wanted / epochs))
        if phase.learning_rate.warmup_steps:
            warmup = round(phase.learning_rate.warmup_steps * share)
            changes[f"phases.{i}.learning_rate.warmup_steps"] = min(warmup, wanted - 1)
    return changes


def steps_of(settings):
    return sum(phase.epochs * (phase.steps or 0) for phase in settings.phases)


def commands_of(stages, folder, held, steps=None, seed=0, presets=None):
    """Return the argument lists of `espmedsam` for some stages and a fold, and the last preset.

    Args:
        stages: tuple of `Stage`.
        folder: `pathlib.Path` of the runs.
        held: a fold of `folds_of`.
        steps: int or None, of all stages together.
        seed: int.
        presets: dict of what the stages' changes write in braces, as `"teacher lite0"`, to a path.
    """
    datasets = sorted(dataset for _, dataset in held)
    settings = [stage.settings() for stage in stages]
    total = sum(map(steps_of, settings))
    presets, commands = dict(presets or {}), []
    for number, (stage, own) in enumerate(zip(stages, settings, strict=True), start=1):
        output = folder / f"stage{number}"
        changes = {**stage.changes, "output": str(output), "seed": seed}
        if steps is not None:
            changes |= budget_changes(own, steps / total)
        for key in ("data", "common_data"):
            data = getattr(own, key, None)
            if data is not None:
                known = {record.dataset for record in read_sources(data, labelled=False)["train"]}
                excluded = [name for name in datasets if name in known]
                changes[f"{key}.exclude_datasets"] = [*data.exclude_datasets, *excluded]
        command = [stage.command, str(ROOT / stage.path)]
        for key, value in changes.items():
            text = json.dumps(value)
            for name, preset in presets.items():
                text = text.replace(f"{{{name}}}", preset)
            command += ["--set", f"{key}={text}"]
        commands.append(command)
        presets[f"stage{number}"] = str(output / "preset")
    return commands, str(folder / f"stage{len(stages)}" / "preset")


def run(plan, output, steps=None, count=None, only_folds=None, seeds=(0,)):
    """Train and measure each recipe; results go to OUTPUT/RECIPE/foldF-seedS.json."""
    for seed, (name, recipe) in itertools.product(seeds, plan.recipes.items()):
        chosen = read_sources(recipe.stages[-1].settings().data)
        for fold, held in enumerate(folds_of(chosen["train"])):
            folder = output / file_name(name) / f"fold{fold}-seed{seed}"
            result = folder.parent / f"{folder.name}.json"
            if fold not in (only_folds or (fold,)):
                continue
            if result.exists():
                _check_same(json.loads(result.read_text(encoding="utf-8")), steps, count)
                continue
            without = ", ".join(name for _, name in held)
            print(f"{name}, fold {fold}, seed {seed}, without {without}", flush=True)
            teachers = {}
            for one in sorted(recipe.teachers):
                where = output / "teachers" / file_name(one) / f"fold{fold}"
                commands = commands_of(plan.teachers[one], where, held)
                teachers[f"teacher {one}"] = _trained(*commands)
            commands, preset = commands_of(recipe.stages, folder, held, steps, seed, teachers)
            _trained(commands, preset)
            found = {"plan": plan.name, "recipe": name, "base": recipe.base, "fold": fold}
            found |= {"seed": seed, "steps": steps, "images_of_a_set": count, "commands": commands}
            found |= measure(preset, to_measure(chosen, held, count))
            with atomic_path(result) as temporary:
                temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def file_name(name):
    return re.sub(r"[^\w.-]+", "_", name)


def _trained(commands, preset):
    """Run the commands unless they are done, and return their preset."""
    if not pathlib.Path(preset).exists():
        for command in commands:
            argv = [sys.executable, "-m", "keras_espmedsam.cli.main", *command]
            if subprocess.run(argv).returncode:
                raise SystemExit("The training failed; repeat the command to resume it.")
    return preset


def _check_same(result, steps, count):
    """Raise for a result of another length of training, or of other images."""
    if (result["steps"], result["images_of_a_set"]) != (steps, count):
        raise InputError(
            f"The recipe {result['recipe']} was trained for {result['steps']} steps and measured "
            f"on {result['images_of_a_set']} images of each set, not for {steps} and on {count}; "
            "give the same, or another output."
        )


def measure(preset, records):
    """Return the Dice of every image and target, elsewhere and at home."""
    import keras

    import keras_espmedsam as kem

    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(preset)
    images = []
    for where, own in records.items():
        if own:
            report = kem.evaluation.evaluate(segmenter, own, metrics=["dice"], per_image=True)
            images += [
                {
                    "where": where,
                    **{key: row[key] for key in ("modality", "dataset")},
                    "target": row.get("target", ""),
                    "image": pathlib.Path(row["image"]).name,
                    "dice": round(row["dice"], 4),
                }
                for row in report["images"]
            ]
    return {
        "keras": f"{keras.__version__}, {keras.backend.backend()}",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
        "images": images,
    }


def _print_plan(plan):
    for name, recipe in plan.recipes.items():
        train = read_sources(recipe.stages[-1].settings().data)["train"]
        folds = folds_of(train)
        total = sum(steps_of(stage.settings()) for stage in recipe.stages)
        taught = f", taught by {', '.join(sorted(recipe.teachers))}" if recipe.teachers else ""
        stages = len(recipe.stages)
        print(f"{name}: {stages} stages, {total} steps, {len(folds)} folds{taught}")
    for name, stages in plan.teachers.items():
        print(f"Teacher {name}: {sum(steps_of(stage.settings()) for stage in stages)} steps")
    held = {key for fold in folds for key in fold}
    for number, fold in enumerate(folds):
        print(f"fold {number} holds out:")
        for (modality, dataset), targets in fold.items():
            print(f"  {dataset} ({modality}{': ' if any(targets) else ''}{', '.join(targets)})")
    alone = [f"{name} ({m})" for m, name in labelled_by_set(train) if (m, name) not in held]
    print("Never held out, since no other set has its targets:", ", ".join(alone) or "none")


def _report(given):
    import leave_one_out_report as report
    import report_pages

    results = report.read_results(given.output)
    results = {n: own for n, own in results.items() if n in (given.only or results)}
    if not results:
        raise InputError(f"No results in {given.output}.")
    text = report.page(results, given.output, given.base)
    if given.page is None:
        print(text)
        return
    report_pages.write_page(given.page, text, report.figures(results, given.base))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("plan", "run", "report"))
    parser.add_argument("--recipes", type=pathlib.Path, default=RECIPES, help="a YAML file")
    parser.add_argument("--only", nargs="+", metavar="RECIPE", help="these; all by default")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/leave_one_out"))
    parser.add_argument("--steps", type=int, help="of a recipe in each fold, all phases together")
    parser.add_argument("--folds", type=int, nargs="+", help="these; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="0 by default")
    parser.add_argument("--images", type=int, default=60, help="measured of each set, at most")
    parser.add_argument("--base", help="that others are compared with; their student's first")
    parser.add_argument("--page", type=pathlib.Path, help="where the report and a JSON file go")
    given = parser.parse_args(arguments)
    try:
        if given.what == "report":
            _report(given)
            return
        plan = read_plan(given.recipes)
        unknown = [name for name in given.only or () if name not in plan.recipes]
        if unknown:
            parser.error(f"unknown recipe {unknown[0]}; known: {', '.join(plan.recipes)}")
        kept = {n: own for n, own in plan.recipes.items() if n in (given.only or plan.recipes)}
        plan = plan._replace(recipes=kept)
        if given.what == "plan":
            _print_plan(plan)
        else:
            images = given.images or None
            run(plan, given.output, given.steps, images, given.folds, given.seeds)
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
