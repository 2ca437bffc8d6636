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
    recipes = script.read_recipes(data / "recipes.yaml")
    held = {("fundus", "drive"): [""], ("colonoscopy", "clinic"): [""]}
    commands, presets = script.commands_of(recipes["mixed late"], data / "run", held, steps=320)
    configs = [
        script.load_settings(script.TrainConfig, path, options[1::2])
        for _, path, *options in commands
    ]
    assert [one.data.exclude_datasets for one in configs] == [["clinic", "drive"]] * 2
    assert [one.appearance for one in configs] == ["none", "standard"]
    assert configs[1].model.preset == presets[0] == str(data / "run" / "stage1" / "preset")
    # 1,000 + 1,000 + 1,200 steps, of which a tenth is wanted.
    assert [[p.epochs * p.steps for p in one.phases] for one in configs] == [[100, 100], [120]]
    assert [p.learning_rate.warmup_steps for p in configs[0].phases] == [10, 10]


def test_recipes_that_cannot_be_used(script, data):
    (data / "recipes.yaml").write_text(STAGES.replace("[{}, {appearance: standard}]", "[{}]"))
    with pytest.raises(InputError, match="mixed late changes 1 stages, and there are 2"):
        script.read_recipes(data / "recipes.yaml")
    (data / "recipes.yaml").write_text(STAGES.replace("base: {}", "base: {phases.0.steps: null}"))
    (base, *_) = script.read_recipes(data / "recipes.yaml").values()
    with pytest.raises(InputError, match="Phase 1 has no steps"):
        script.budget_changes(base[0].settings(), 0.5)


def test_the_recipes_of_the_repository_are_configurations(script, data):
    recipes = script.read_recipes(script.RECIPES)
    assert next(iter(recipes)) == "base"
    for stages in recipes.values():
        (stage,) = stages
        settings = stage.settings()
        assert settings.data.sources[0].index == data / "index2.csv"
        assert settings.appearance == stage.changes.get("appearance", "none")


def _result(recipe, fold, gain):
    rng = np.random.default_rng(fold)
    return {
        "recipe": recipe,
        "fold": fold,
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


def test_each_set_counts_once_and_each_modality(report):
    sets = {"a": {1: np.array([0.2, 0.4]), 2: np.array([0.9])}, "b": {3: np.array([0.2])}}
    assert report.mean_of_modalities(sets) == pytest.approx((0.6 + 0.2) / 2)
    value, low, high = report.paired_difference(sets, sets)
    assert (value, low, high) == (0, 0, 0)
    better = {m: {n: v + 0.1 for n, v in own.items()} for m, own in sets.items()}
    np.testing.assert_allclose(report.paired_difference(better, sets), 0.1)


def test_the_page_compares_folds_that_all_recipes_have(report, tmp_path):
    for recipe, folds, gain in (("base", (0, 1), 0.0), ("all of it", (0,), 0.2)):
        for fold in folds:
            path = tmp_path / recipe / f"fold{fold}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(_result(recipe, fold, gain)))
    results = report.read_results(tmp_path)
    text = report.page(results, tmp_path, "base")
    assert "in the folds 0, on any, Keras 3, torch" in text and "for 9 steps" in text
    elsewhere, home = (line for line in text.splitlines() if line.startswith("| all of it"))
    assert elsewhere.endswith("+0.200 (+0.200 to +0.200) |")
    assert home.endswith("+0.000 (+0.000 to +0.000) |")
    assert "| kvasir | colonoscopy |" in text
    results["base"][1]["steps"] = 7
    with pytest.raises(InputError, match="compare those that have the same"):
        report.page(results, tmp_path, "base")
    results["base"][1]["steps"] = 9
    del results["base"][0]
    with pytest.raises(InputError, match="No fold is measured for all recipes"):
        report.page(results, tmp_path, "base")


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
    assert names == [f"fold{i}.json" for i in range(3)]
    with pytest.raises(SystemExit):
        script.main([*options[:-1], "64"])
    assert "trained for 32 steps and measured on 60 images" in capsys.readouterr().err
