"""The configuration that a run was started with, and which keys may change when; no training."""

import pytest

from keras_espmedsam._files import locked
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub import built_in_presets
from keras_espmedsam.training.config.settings import load_settings
from keras_espmedsam.training.config.train_config import TrainConfig
from keras_espmedsam.training.run.run_record import begin_run, hold_run


@pytest.fixture
def config(tmp_path):
    """Makes a configuration of two phases, with changes."""

    def make(*changes):
        values = {
            "output": str(tmp_path / "run"),
            "model": {"preset": "tiny"},
            "data": {"sources": [{"folder": str(tmp_path), "modality": "xray"}]},
            "phases": [{"epochs": 2, "name": "coarse"}, {"epochs": 3}],
        }
        return load_settings(TrainConfig, values, changes)

    return make


def train(config, *phases):
    """Leave what an epoch of each of these phases leaves."""
    for number in phases:
        folder = config.phase_folders()[number]
        folder.mkdir()
        (folder / "state.npz").touch()


def held(config):
    return load_settings(TrainConfig, config.output / "config.yaml")


def test_until_an_epoch_is_trained_all_may_be_changed(config):
    assert not begin_run(config())
    mended = config("data.val_splits=[test]", "phases.0.epochs=5")
    assert not begin_run(mended)
    assert held(mended) == mended


def test_a_phase_may_be_changed_until_it_has_trained(config):
    begin_run(config())
    train(config(), 0)
    assert begin_run(config())
    for change in ("phases.0.epochs=5", "phases.0.name=other", "seed=1"):
        with pytest.raises(InputError, match=f"started with {change.partition('=')[0]}"):
            begin_run(config(change))
    mended = config("phases=[{epochs: 2, name: coarse}, {epochs: 9, name: fine}, {epochs: 1}]")
    assert begin_run(mended)
    assert held(mended) == mended
    train(mended, 1)
    with pytest.raises(InputError, match=r"started with phases\.1\.name=fine"):
        begin_run(config())
    # A run that is done trains no phase that is added.
    (mended.output / "preset").mkdir()
    with pytest.raises(InputError, match=r"phases\.2\.epochs=1"):
        begin_run(config("phases=[{epochs: 2, name: coarse}, {epochs: 9, name: fine}]"))


def test_a_run_keeps_the_version_of_its_preset(config, monkeypatch):
    def newest(version):
        entry = {"version": version}
        monkeypatch.setattr(
            built_in_presets, "builtin_presets", lambda earlier=False: {"tiny": entry}
        )

    newest(1)
    begin_run(config())
    record = config().output / "config.yaml"
    assert "preset: tiny@1" in record.read_text()
    train(config(), 0)
    newest(2)
    with pytest.raises(
        InputError, match=r"with model\.preset=tiny@1 and is now given tiny@2; give another output"
    ):
        begin_run(config())
    assert begin_run(config("model.preset=tiny@1"))
    # A record of before there were versions.
    record.write_text(record.read_text().replace("tiny@1", "tiny"))
    with pytest.raises(InputError, match=r"with model\.preset=tiny@1 and is now given tiny@2"):
        begin_run(config())
    assert begin_run(config("model.preset=tiny@1"))


def test_what_changes_nothing_of_the_result_may_be_changed(config):
    begin_run(config())
    train(config(), 0, 1)
    assert begin_run(config("data.workers=2", "data.strict=true", "tensorboard=true"))


def test_a_run_is_held_before_it_is_begun(config):
    values = config()
    with hold_run(values):
        # A second one, with other settings, while the first has written nothing yet.
        with pytest.raises(InputError, match="Another program is training"):
            with hold_run(config("seed=1")):
                pass
        assert not begin_run(values)
        with pytest.raises(InputError, match="Another program is training"):
            with hold_run(config("seed=1")):
                pass
        with hold_run(config("seed=1"), writes=False):
            pass  # One of several processes that train together.
    assert held(values) == values
    assert [file.name for file in values.output.iterdir()] == ["config.yaml"]
    with hold_run(values):
        pass


def test_a_run_that_fails_at_once_leaves_nothing(config):
    with pytest.raises(KeyError), hold_run(config()):
        raise KeyError
    assert not config().output.exists()


@pytest.mark.parametrize("name", [".lock", ".run.lock", ".writing-1.npz"])
def test_what_a_killed_program_left_makes_no_folder_anothers(config, name):
    values = config()
    values.output.mkdir()
    (values.output / name).touch()
    with hold_run(values):
        assert not begin_run(values)
    assert held(values) == values


def test_a_folder_of_something_else_gets_no_lock(config):
    values = config()
    values.output.mkdir()
    (values.output / "notes.txt").touch()
    for _ in range(2):
        with pytest.raises(InputError, match=r"holds notes\.txt and no run"):
            with hold_run(values):
                pass
    assert [file.name for file in values.output.iterdir()] == ["notes.txt"]
    (values.output / "notes.txt").unlink()
    values.output.rmdir()
    values.output.touch()
    with pytest.raises(InputError, match="holds no folder and no run"):
        with hold_run(values):
            pass


def test_a_name_that_is_too_long_is_told(config):
    long = config("output=" + "x" * 300)
    with pytest.raises(InputError, match=r"cannot be used.*name too long.*Give another"):
        with hold_run(long):
            pass


def test_what_cannot_be_used_leaves_nothing_behind_but_what_was_there(config):
    values = config()
    for held_before in (False, True):
        with pytest.raises(InputError, match="no such split"):
            with hold_run(values):
                begin_run(values)
                if held_before:
                    train(values, 0)
                raise InputError("There is no such split.")
        assert (values.output / "config.yaml").exists() == held_before
        assert values.output.exists() == held_before


def test_a_run_that_another_program_is_at_is_left_alone(config):
    begin_run(config())
    folder = config().phase_folders()[0]
    folder.mkdir()
    with (folder / ".lock").open("w") as lock:
        assert locked(lock)
        with pytest.raises(InputError, match="Another program is training"):
            begin_run(config("seed=1"))
    assert held(config()) == config()
