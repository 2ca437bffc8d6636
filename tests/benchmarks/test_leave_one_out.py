"""What is held out, trained and measured, and how the results are put together."""

import json
import types
from pathlib import Path

import numpy as np
import pytest

from keras_espmedsam.data import Record, TargetMask
from keras_espmedsam.errors import InputError

pytest.importorskip("pydantic")
pytest.importorskip("yaml")

SETS = {
    ("colonoscopy", "kvasir"): ["polyp"],
    ("colonoscopy", "clinic"): ["polyp"],
    ("fundus", "drive"): ["vessels", "arteries"],
    ("fundus", "hrf"): ["vessels"],
    ("fundus", "drishti"): ["disc"],
    ("skin", "isic"): [""],
}


@pytest.fixture
def script(load):
    return load("leave_one_out")


def _records(split="train", count=1):
    return [
        Record(
            *(split, modality, dataset, Path(f"{dataset}{split}{i}.png")),
            targets=tuple(TargetMask(name, Path(f"{name}.png")) for name in targets),
        )
        for (modality, dataset), targets in SETS.items()
        for i in range(count)
    ]


def test_folds_hold_out_what_another_set_teaches(script):
    assert script.folds_of(_records()) == [
        {("colonoscopy", "kvasir"): ["polyp"], ("fundus", "drive"): ["vessels"]},
        {("colonoscopy", "clinic"): ["polyp"], ("fundus", "hrf"): ["vessels"]},
    ]
    assert script.folds_of(_records()[:1]) == []


def test_what_is_measured_elsewhere_and_at_home(script):
    chosen = {"train": _records(count=3), "val": _records("val")}
    (fold, _) = script.folds_of(chosen["train"])
    found = script.to_measure(chosen, fold, None)
    elsewhere = [(one.dataset, one.split, one.targets[0].target) for one in found["elsewhere"]]
    assert elsewhere == [
        *[("kvasir", "train", "polyp")] * 3,
        ("kvasir", "val", "polyp"),
        *[("drive", "train", "vessels")] * 3,
        ("drive", "val", "vessels"),
    ]
    assert all(len(one.targets) == 1 and one.mask.name for one in found["elsewhere"])
    home = [(one.dataset, one.split) for one in found["home"]]
    assert home == [(name, "val") for name in ("clinic", "hrf", "drishti", "isic")]
    few = script.to_measure(chosen, fold, 2)["elsewhere"]
    assert [(one.dataset, one.split) for one in few] == [
        *(("kvasir", "train"), ("kvasir", "val")),
        *(("drive", "train"), ("drive", "val")),
    ]


@pytest.fixture
def data(tmp_path, monkeypatch):
    lines = ["split,modality,dataset,image,mask,target"]
    for modality, dataset in SETS:
        (tmp_path / f"{dataset}.png").touch()
        lines.append(f"train,{modality},{dataset},{dataset}.png,{dataset}.png,")
        (tmp_path / f"{dataset}_val.png").touch()
        lines.append(f"val,{modality},{dataset},{dataset}_val.png,{dataset}_val.png,")
    (tmp_path / "index2.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("ESPMEDSAM_DATA", str(tmp_path))
    return tmp_path


STAGES = """
stages:
  - train: examples/configs/nano_256/labels.yaml
    set:
      data.sources: [{index: $ESPMEDSAM_DATA/index2.csv}]
      data.weights: null
      augmentation: medical
  - train: examples/configs/nano_256/finetune.yaml
    set:
      model.preset: "{stage1}"
      data.sources: [{index: $ESPMEDSAM_DATA/index2.csv}]
      data.weights: null
      augmentation: medical
recipes:
  base: {}
  mixed: {appearance: {fourier_mixing: 0.5}}
  mixed late: [{}, {appearance: standard}]
"""


def test_commands_leave_out_what_a_fold_holds_out(script, data):
    (data / "recipes.yaml").write_text(STAGES)
    recipe = script.read_plan(data / "recipes.yaml").recipes["mixed late"]
    held = {("fundus", "drive"): [""], ("colonoscopy", "clinic"): [""]}
    commands, preset = script.commands_of(recipe.stages, data / "run", held, steps=320, seed=3)
    configs = [
        script.load_settings(script.TrainConfig, path, options[1::2])
        for _, path, *options in commands
    ]
    assert [one.data.exclude_datasets for one in configs] == [["clinic", "drive"]] * 2
    assert [one.appearance for one in configs] == ["none", "standard"]
    assert [one.seed for one in configs] == [3, 3]
    assert configs[1].model.preset == str(data / "run" / "stage1" / "preset")
    assert preset == str(data / "run" / "stage2" / "preset")
    # 1,000 + 1,000 + 1,200 steps, of which a tenth is wanted.
    assert [[p.epochs * p.steps for p in one.phases] for one in configs] == [[100, 100], [120]]
    assert [p.learning_rate.warmup_steps for p in configs[0].phases] == [10, 10]


def test_recipes_that_cannot_be_used(script, data):
    (data / "recipes.yaml").write_text(STAGES.replace("[{}, {appearance: standard}]", "[{}]"))
    with pytest.raises(InputError, match="mixed late changes 1 stages, and there are 2"):
        script.read_plan(data / "recipes.yaml")
    (data / "recipes.yaml").write_text(STAGES.replace("base: {}", "base: {phases.0.steps: null}"))
    base, *_ = script.read_plan(data / "recipes.yaml").recipes.values()
    with pytest.raises(InputError, match="Phase 1 has no steps"):
        script.budget_changes(base.stages[0].settings(), 0.5)
    taught = STAGES.replace("base: {}", 'base: {model.preset: "{teacher large}"}')
    (data / "recipes.yaml").write_text(taught)
    with pytest.raises(InputError, match="base names the teacher large; the file has none"):
        script.read_plan(data / "recipes.yaml")


def test_the_recipes_of_the_repository_are_configurations(script, data):
    recipes = script.read_plan(script.RECIPES).recipes
    assert next(iter(recipes)) == "base"
    for recipe in recipes.values():
        (stage,) = recipe.stages
        settings = stage.settings()
        assert settings.data.sources[0].index == data / "index2.csv"
        assert settings.appearance == stage.changes.get("appearance", "none")


def test_students_with_and_without_teachers_are_configurations(script, data):
    plan = script.read_plan(script.RECIPES.with_name("recipes.yaml"))
    assert {recipe.base for recipe in plan.recipes.values()} == {"TinyViT, base", "Lite0, base"}
    for stages in plan.teachers.values():
        assert [script.steps_of(stage.settings()) for stage in stages] == [600]
    for name, recipe in plan.recipes.items():
        (stage,) = recipe.stages
        settings = stage.settings()
        assert settings.student.encoder.kind == ("tiny_vit" if "Tiny" in name else "keras_hub")
        assert script.steps_of(settings) == (600 if name.endswith("twice as long") else 300)
        teacher = settings.medical_teacher
        assert recipe.teachers == (set() if teacher is None else {teacher.preset[9:-1]})
        # One key differs, and for a teacher what it teaches.
        base = plan.recipes[recipe.base].stages[0].changes
        changed = {key for key in stage.changes if stage.changes[key] != base.get(key)}
        assert len(changed - {"medical_teacher"}) == (
            0 if name == recipe.base or name.endswith(("features and masks", "of Lite2")) else 1
        )


TAUGHT = """
teachers:
  large:
    - train: examples/configs/nano_256/labels.yaml
      set: &data
        data.sources: [{index: $ESPMEDSAM_DATA/index2.csv}]
        data.weights: null
        augmentation: medical
students:
  light: {student.encoder.neck_dim: 64}
  heavy: {}
stages:
  - distill: examples/configs/pretrained_distill.yaml
    set: {<<: *data, medical_teacher: null}
recipes:
  base: {}
  taught: {medical_teacher: {preset: "{teacher large}"}}
"""


def test_a_teacher_is_trained_once_for_each_fold(script, data, monkeypatch):
    (data / "recipes.yaml").write_text(TAUGHT)
    started = []

    def train(argv):
        settings = script.CONFIGS[argv[3]]
        started.append(script.load_settings(settings, argv[4], argv[6::2]))
        (started[-1].output / "preset").mkdir(parents=True)
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr(script.subprocess, "run", train)
    monkeypatch.setattr(script, "measure", lambda preset, records: {"images": []})
    options = ["run", "--recipes", data / "recipes.yaml", "--output", data / "out", "--folds", "1"]
    script.main([*map(str, options), "--seeds", "0", "1"])
    outputs = [str(one.output.relative_to(data / "out")) for one in started]
    assert outputs == [
        "light_base/fold1-seed0/stage1",
        "teachers/large/fold1/stage1",
        *(f"{name}/fold1-seed0/stage1" for name in ("light_taught", "heavy_base", "heavy_taught")),
        *(
            f"{name}/fold1-seed1/stage1"
            for name in ("light_base", "light_taught", "heavy_base", "heavy_taught")
        ),
    ]
    assert {tuple(one.data.exclude_datasets) for one in started} == {("clinic", "hrf")}
    preset = str(data / "out" / outputs[1] / "preset")
    teachers = [getattr(one, "medical_teacher", None) for one in started]
    assert [one and one.preset for one in teachers] == [
        *(None, None, preset, None, preset),
        *(None, preset, None, preset),
    ]
    found = json.loads((data / "out" / "heavy_taught" / "fold1-seed1.json").read_text())
    assert (found["base"], found["seed"], found["plan"]) == ("heavy, base", 1, "recipes.yaml")


def _result(recipe, fold, gain, seed=0):
    rng = np.random.default_rng([fold, seed])
    return {
        "plan": "recipes.yaml",
        "recipe": recipe,
        "base": "base",
        "fold": fold,
        "seed": seed,
        "steps": 9,
        "images_of_a_set": 9,
        "keras": "3, torch",
        "machine": "any",
        "images": [
            {
                "where": where,
                "modality": modality,
                "dataset": dataset,
                "target": "",
                "image": f"{i}.png",
                "dice": 0.5 + gain * (where == "elsewhere") + 0.1 * rng.random(),
            }
            for where in ("elsewhere", "home")
            for modality, dataset in SETS
            if modality != "fundus"
            for i in range(9)
        ],
    }


@pytest.fixture
def report(load):
    return load("leave_one_out_report")


def _column(*values):
    return np.array(values)[:, None]


def test_each_set_counts_once_and_each_modality(report):
    sets = {"a": {1: _column(0.2, 0.4), 2: _column(0.9)}, "b": {3: _column(0.2)}}
    assert report.mean_of_modalities(sets) == pytest.approx((0.6 + 0.2) / 2)
    value, low, high = report.paired_difference(sets, sets)
    assert (value, low, high) == (0, 0, 0)
    better = {m: {n: v + 0.1 for n, v in own.items()} for m, own in sets.items()}
    np.testing.assert_allclose(report.paired_difference(better, sets), 0.1)


def test_intervals_are_over_seeds_too(report):
    zero = {"a": {1: np.zeros((50, 2))}}
    one = {"a": {1: np.tile([0.0, 0.2], (50, 1))}}  # One seed gains, the other does not.
    value, low, high = report.paired_difference(one, zero)
    assert (value, low, high) == pytest.approx((0.1, 0.0, 0.2))


@pytest.mark.parametrize(
    ("elsewhere", "home", "said"),
    [
        ((0.02, 0.01, 0.03), (0.0, -0.01, 0.01), "helps"),
        ((0.02, 0.01, 0.03), (-0.02, -0.03, -0.01), "hurts"),
        ((0.0, -0.01, 0.01), (0.02, 0.01, 0.03), "helps at home only"),
        ((0.0, -0.01, 0.01), (0.0, -0.01, 0.01), "no difference shown"),
        ((-0.02, -0.03, -0.01), (0.02, 0.01, 0.03), "hurts"),
    ],
)
def test_what_helps_only_at_home_does_not_help(report, elsewhere, home, said):
    assert report.finding(elsewhere, home) == said


def _write(folder, recipe, runs, gain):
    for fold, seed in runs:
        path = folder / recipe / f"fold{fold}-seed{seed}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(_result(recipe, fold, gain, seed)))


def test_the_page_compares_what_all_recipes_have(report, tmp_path):
    _write(tmp_path, "base", [(0, 0), (1, 0), (0, 1)], 0.0)
    _write(tmp_path, "all of it", [(0, 0), (0, 1)], 0.2)
    results = report.read_results(tmp_path)
    text = report.page(results, tmp_path)
    assert "for 9 steps, on any, Keras 3, torch" in text and "Folds 0; seeds 0, 1." in text
    first, elsewhere, home = (x for x in text.splitlines() if x.startswith("| all of it"))
    gain = "+0.200 (+0.200 to +0.200) |"
    assert elsewhere.endswith(gain) and home.endswith("+0.000 (+0.000 to +0.000) |")
    assert gain in first and first.endswith("| helps |")
    assert "| kvasir | colonoscopy |" in text
    (group,) = report.figures(results)
    assert (group["folds"], group["seeds"]) == ([0], [0, 1])
    assert group["recipes"][1]["elsewhere"]["gain"] == [0.2, 0.2, 0.2]
    assert set(group["recipes"][0]["home"]["sets"]) == {
        *("colonoscopy/kvasir", "colonoscopy/clinic", "skin/isic")
    }
    results["base"][1, 0]["steps"] = 7
    with pytest.raises(InputError, match="compare those that have the same"):
        report.page(results, tmp_path)
    results["base"] = {(1, 0): results["base"][1, 0] | {"steps": 9}}
    with pytest.raises(InputError, match="No fold is measured for all recipes"):
        report.page(results, tmp_path)
    del results["base"]
    with pytest.raises(InputError, match="The recipe base, which others are compared with, has no"):
        report.page(results, tmp_path)


def test_seeds_that_lack_a_fold_are_left_out(report):
    runs = dict.fromkeys([(0, 0), (1, 0), (0, 1)])
    assert report.runs_of({"base": runs}) == ([0, 1], [0])
    assert report.runs_of({"base": dict.fromkeys([(0, 0), (1, 1)])}) == ([0], [0])


def test_what_is_measured_is_kept(script, data, monkeypatch, capsys):
    (data / "recipes.yaml").write_text(STAGES)
    started, measured = [], []

    def train(argv):
        started.append(argv[3])
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr(script.subprocess, "run", train)
    monkeypatch.setattr(
        script, "measure", lambda preset, records: measured.append(preset) or {"images": []}
    )
    options = ["run", "--recipes", data / "recipes.yaml", "--output", data / "out"]
    options = [*map(str, options), "--only", "base", "--steps", "32"]
    script.main([*options, "--folds", "0"])
    assert (started, len(measured)) == (["train", "train"], 1)
    script.main(options)
    assert (len(started), len(measured)) == (6, 3)
    names = sorted(path.name for path in (data / "out" / "base").iterdir())
    assert names == [f"fold{i}-seed0.json" for i in range(3)]
    with pytest.raises(SystemExit):
        script.main([*options[:-1], "64"])
    assert "trained for 32 steps and measured on 60 images" in capsys.readouterr().err
