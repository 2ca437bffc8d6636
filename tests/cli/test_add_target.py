"""`espmedsam add-target`, the short way to a configuration, on a tiny preset."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import keras_espmedsam as kem
from keras_espmedsam.cli.app import app

pytest.importorskip("pydantic")
pytest.importorskip("yaml")

# All need a run, which takes most of a minute to compile or trace; models/test_targets.py tests
# what it does on each backend.
pytestmark = [
    pytest.mark.usefixtures("untraced_tensorflow"),
    pytest.mark.slow_on("jax", "tensorflow"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, save_small_preset):
    """`run(*changes)`: the command in a folder of its own; it has run once with success."""
    folder = tmp_path_factory.mktemp("added")
    save_small_preset(folder / "small", ("skin", "eye"))
    rng = np.random.default_rng(0)
    rows = ["split,modality,dataset,image,mask,target"]
    for name, split in (("a", "train"), ("b", "train"), ("c", "val")):
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype="uint8")).save(
            folder / f"{name}.png"
        )
        for target, size in (("disc", 12), ("cup", 8)):
            mask = np.zeros((30, 40), "uint8")
            mask[5 : 5 + size, 10 : 10 + size] = 255
            Image.fromarray(mask).save(folder / f"{name}_{target}.png")
            rows.append(f"{split},eye,own,{name}.png,{name}_{target}.png,{target}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    plain = [row.rpartition(",")[0] for row in rows if not row.endswith(",cup")]
    (folder / "plain.csv").write_text("\n".join(plain) + "\n")

    def run(*arguments, index="index.csv"):
        options = ["--data", folder / index, "--preset", folder / "small", "--patience", "1"]
        options += ["--epochs", "2", "--steps", "1", "--batch-size", "2"]
        if "--output" not in arguments:
            options += ["--output", folder / "run"]
        return CliRunner().invoke(app, ["add-target", *map(str, (*arguments, *options))])

    first = ("eye", "disc", "cup", "--first", "vessels", "--init-from", "vessels")
    first = (*first, "--inside", "disc", "--adapter-dim", "2")
    return SimpleNamespace(run=run, folder=folder, first=first, result=run(*first))


def test_a_preset_with_the_new_targets_is_written(trained):
    assert trained.result.exit_code == 0, trained.result.output
    assert "Labelled for training: eye/disc 2, eye/cup 2." in trained.result.stderr
    load = kem.models.ESPMedSAMImageSegmenter.from_preset
    old, new = load(trained.folder / "small"), load(trained.folder / "run" / "preset")
    assert new.targets == {"skin": ("mask",), "eye": ("vessels", "disc", "cup")}
    assert new.target_set.nested == {"eye": {"cup": "disc"}}
    assert new.backbone.target_adapters == {"eye": {"disc": 2, "cup": 2}}
    own = {w.path for layer in new.backbone.mask_decoder.target_layers(1) for w in layer.weights}
    shared = [w for w in new.weights if w.path not in own]
    for weight, expected in zip(shared, old.weights, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(weight), keras.ops.convert_to_numpy(expected)
        )


def test_the_same_command_again_says_that_it_is_done(trained):
    again = trained.run(*trained.first)
    assert again.exit_code == 0
    assert "is done" in again.stderr


def test_an_index_without_targets_shows_the_only_new_one(trained):
    result = trained.run("eye", "disc", "--output", trained.folder / "plain", index="plain.csv")
    assert result.exit_code == 0, result.output
    assert "Labelled for training: eye/disc 2." in result.stderr


@pytest.mark.parametrize(
    ("arguments", "index", "words"),
    [
        (("eyes", "disc"), "index.csv", "did you mean eye"),
        (("eye", "discs"), "index.csv", "did you mean disc"),
        (("eye", "disc", "cup"), "plain.csv", "no names of targets"),
        (("eye", "disc", "--first", "disc"), "index.csv", "has already"),
        (("eye", "disc", "cup", "--inside", "eyes"), "index.csv", "'eyes'"),
        (("eye", "disc", "--init-from", "cup", "--first", "vessels"), "index.csv", "has vessels"),
        (
            ("eye", "disc", "--init-from", "vesels", "--first", "vessels"),
            "index.csv",
            "init_from='vesels' for disc of eye; did you mean vessels? The model has vessels.",
        ),
        (("eye", "disc", "--init-from", "vessels"), "index.csv", "without a name"),
        (("eye", "disc", "--size", "64"), "index.csv", "leave the size out"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_written(trained, arguments, index, words):
    folder = trained.folder / "new"
    result = trained.run(*arguments, "--output", folder, index=index)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert not folder.exists()
