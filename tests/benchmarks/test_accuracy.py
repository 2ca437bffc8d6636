"""The commands of the systems: each is a configuration that can be used."""

import shlex

import pytest

from keras_espmedsam.training.config.settings import load_settings
from keras_espmedsam.training.config.train_config import TrainConfig

pytest.importorskip("yaml")


@pytest.fixture
def accuracy(load, monkeypatch, tmp_path):
    (tmp_path / "index.csv").touch()
    monkeypatch.setenv("ESPMEDSAM_DATA", str(tmp_path))
    module = load("accuracy")
    monkeypatch.chdir(module.ROOT)
    return module


def test_augmentation_is_of_the_data_sets_that_are_trained_on(accuracy):
    trainings = [
        shlex.split(command)
        for system in accuracy.SYSTEMS.values()
        for command in system.commands
        if command.startswith("espmedsam train")
    ]
    assert len(trainings) == 13
    for _, _, path, *options in trainings:
        config = load_settings(TrainConfig, path, options[1::2])
        assert set(config.augmentation) == set(config.data.sources[0].datasets)
