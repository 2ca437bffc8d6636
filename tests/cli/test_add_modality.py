"""`espmedsam add-modality`, and the key of `train` that it is short for, on a tiny preset."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import keras_espmedsam as kem
from keras_espmedsam.cli.app import app
from keras_espmedsam.errors import InputError
from keras_espmedsam.training import train
from keras_espmedsam.training.run.folder_lock import RUN_LOCK, only_program

pytest.importorskip("pydantic")
pytest.importorskip("yaml")

pytestmark = pytest.mark.usefixtures("untraced_tensorflow")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, save_small_preset):
    """`run(*changes)`: the command in a folder of its own; it has run once with success."""
    folder = tmp_path_factory.mktemp("added")
    save_small_preset(folder / "small", ("skin", "lung"))
    rng = np.random.default_rng(0)
    rows = ["split,modality,dataset,image,mask"]
    for name, split in (("a", "first"), ("b", "first"), ("c", "second")):
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype="uint8")).save(
            folder / f"{name}.png"
        )
        mask = np.zeros((30, 40), "uint8")
        mask[5:20, 10:30] = 255
        Image.fromarray(mask).save(folder / f"{name}_mask.png")
        rows.append(f"{split},anything,own,{name}.png,{name}_mask.png")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    (folder / "broken.png").write_bytes(b"no image")

    def run(*changes, name="baby"):
        options = ["--data", folder / "index.csv", "--preset", folder / "small"]
        options += ["--split", "first", "--val-split", "second", "--init-from", "lung"]
        options += ["--epochs", "2", "--steps", "1", "--batch-size", "2", "--patience", "1"]
        options += ["--output", folder / "run", *changes]
        return CliRunner().invoke(app, ["add-modality", name, *map(str, options)])

    return SimpleNamespace(run=run, folder=folder, result=run())


def test_a_preset_with_the_new_modality_is_written(trained):
    assert trained.result.exit_code == 0, trained.result.output
    assert "2 images for training." in trained.result.stderr
    assert "1 images for validation." in trained.result.stderr
    load = kem.models.ESPMedSAMImageSegmenter.from_preset
    old, new = load(trained.folder / "small"), load(trained.folder / "run" / "preset")
    assert new.modalities == ("skin", "lung", "baby")
    ours = new.backbone.mask_decoder.added_queries[0]["query"]
    rows = keras.ops.convert_to_numpy(old.backbone.mask_decoder.queries)
    moved = np.abs(keras.ops.convert_to_numpy(ours) - rows[1]).max()
    assert 1e-5 < moved < 0.1
    shared = [w for w in new.weights if w is not ours]
    for weight, expected in zip(shared, old.weights, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(weight), keras.ops.convert_to_numpy(expected)
        )


def test_the_same_command_again_says_that_it_is_done(trained):
    again = trained.run()
    assert again.exit_code == 0
    assert "is done" in again.stderr


def test_another_run_is_not_written_over_it(trained):
    other = trained.run("--seed", "1")
    assert other.exit_code == 2
    assert "started with seed=0" in other.stderr


def test_a_second_program_is_refused_before_anything_is_read(trained):
    for folder in ("run", "new"):
        target = trained.folder / folder
        with only_program(target, RUN_LOCK):
            second = trained.run("--output", target)
        assert second.exit_code == 2
        assert "Another program is training in" in " ".join(second.stderr.split())
    assert not target.exists()


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ((), "lung", "which this model has already"),
        (("--init-from", "brain"), "new", "knows skin, lung"),
        (("--split", "third"), "new", "have no split 'third', which train_splits names"),
        (("--val-split", "first"), "new", "the split first is in train_splits and in val_splits"),
        (("--learning-rate", "0"), "new", "learning_rate"),
        (("--data", "nowhere.csv"), "new", "nowhere.csv does not exist"),
        (("--preset", "."), "new", "holds no config.json"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_written(trained, changes, name, words):
    target = trained.folder / "other"
    result = trained.run("--output", target, *changes, name=name)
    assert result.exit_code == 2
    assert words.lower() in " ".join(result.stderr.lower().split())
    assert not target.exists()


def weights(preset):
    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(preset)
    return [keras.ops.convert_to_numpy(weight) for weight in segmenter.weights]


def configuration(folder, **changes):
    """What the command of `trained` says, as a configuration."""
    rate = {"rate": 2e-3, "schedule": "cosine", "warmup_steps": 1, "final_rate": 2e-5}
    return {
        "output": str(folder / "configured"),
        "early_stopping": {"patience": 1},
        "model": {
            "preset": str(folder / "small"),
            "add_modality": {"name": "baby", "init_from": "lung"},
        },
        "data": {
            "sources": [{"index": str(folder / "index.csv")}],
            "train_splits": ["first"],
            "val_splits": ["second"],
        },
        "phases": [
            {
                "epochs": 2,
                "steps": 1,
                "batch_size": 2,
                "learning_rate": rate,
                "optimizer": {"name": "adamw", "weight_decay": 0.05, "global_clipnorm": 1.0},
            }
        ],
        **changes,
    }


def without_modalities(folder, last=None):
    """The index of `trained` without what its images show; and with another last line."""
    lines = (folder / "index.csv").read_text().splitlines()
    lines = [",".join(line.split(",")[i] for i in (0, 2, 3, 4)) for line in lines]
    (folder / "short.csv").write_text("\n".join([*lines[:-1], last or lines[-1]]) + "\n")
    return folder / "short.csv"


def test_a_configuration_says_the_same_of_images_that_say_no_modality(trained):
    folder = trained.folder
    change = f"data.sources.0.index={without_modalities(folder)}"
    preset = train(configuration(folder), [change], report=str, verbose=0)
    expected = weights(folder / "run" / "preset")
    for weight, one in zip(weights(preset), expected, strict=True):
        np.testing.assert_array_equal(weight, one)


def test_images_need_masks(trained):
    index = without_modalities(trained.folder, "second,own,c.png,")
    result = trained.run("--data", index, "--output", trained.folder / "bare")
    assert result.exit_code == 2 and not (trained.folder / "bare").exists()
    assert "c.png of the split second has no mask" in " ".join(result.stderr.split())


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="one more run; nothing of a backend")
def test_black_and_white_of_the_preset_remain(trained):
    said = []
    data = {**configuration(trained.folder)["data"], "intensity": [0, 200]}
    changes = {"output": str(trained.folder / "told"), "data": data}
    preset = train(configuration(trained.folder, **changes), report=said.append, verbose=0)
    assert any("segment images of baby with --intensity 0:200" in sentence for sentence in said)
    new = kem.models.ESPMedSAMImageSegmenter.from_preset(preset)
    assert new.preprocessor.image_converter.intensity == "auto"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("phases.0.parts=[decoder]", "leave parts and modalities of the phases out"),
        ("phases.0.modalities=[lung]", "leave parts and modalities of the phases out"),
        ("phases.0.resize_mode=stretch", "whose images are resized by pad; leave it out"),
        ("data.sources.0.modality=lung", "a source says modality: lung; leave that out"),
        ("model.load_weights=false", "give a preset, with its weights"),
        ("model={encoder: {kind: tic}, add_modality: {name: a}}", "give a preset, with its"),
        ("model.add_modality.from=lung", "unknown key model.add_modality.from"),
    ],
)
def test_what_does_not_go_with_an_added_modality(trained, change, words):
    config = configuration(trained.folder, output=str(trained.folder / "refused"))
    with pytest.raises(InputError, match=words):
        train(config, [change], report=str)
    assert not (trained.folder / "refused").exists()


def test_a_run_of_version_0_1_0_is_not_gone_on_with(trained):
    folder = trained.folder / "former"
    folder.mkdir()
    (folder / "config.yaml").write_text("name: baby\npreset: small\nindex: index.csv\n")
    (folder / "state.npz").touch()
    result = trained.run("--output", folder)
    assert result.exit_code == 2
    assert "started by another command or version" in " ".join(result.stderr.split())
    assert (folder / "config.yaml").read_text().startswith("name: baby")
