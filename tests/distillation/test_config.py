"""Configurations of distillation: what is refused, and what is as published."""

import re

import pytest

from keras_espmedsam.distillation.config import DistillConfig
from keras_espmedsam.distillation.phases import named_phase
from keras_espmedsam.errors import InputError
from keras_espmedsam.registries import distillation_phases, feature_losses, losses
from keras_espmedsam.training.config.settings import load_settings

DISTILL = {
    "output": "run",
    "student": {"preset": "tiny"},
    "medical_teacher": {"preset": "big"},
    "data": {"sources": [{"folder": ".", "modality": "xray"}]},
    "phases": [{"phase": "controllers"}],
}


def changed(config, path, value):
    key, _, rest = path.partition(".")
    if isinstance(config, list):
        config = list(config)
        config[int(key)] = changed(config[int(key)], rest, value) if rest else value
        return config
    return {**config, key: changed(config.get(key, {}), rest, value) if rest else value}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("medical_teacher", None, "the phase controllers needs medical_teacher"),
        ("phases.0.phase", "common", "the phase common needs common_teachers"),
        ("phases.0.parts", ["decoder"], "parts belongs to the phase teacher"),
        ("phases.0.use_teacher", False, "use_teacher belongs to the phase joint, not to contr"),
        ("phases.0.common_batch_size", 2, "belongs to the phase common or both"),
        ("phases", [{"phase": "teacher"}], "no phase trains the student"),
        ("phases.0.losses", [{"loss": "mae"}], "phases.0.losses.0.loss: 'mae'"),
        ("phases.0.losses", [{"student": "masks", "loss": "mse"}], "losses.0.loss: 'mse'"),
        ("phases.0.losses", [{"student": "masks", "teacher": "block_0"}], "masks learn from masks"),
        ("phases.0.losses", [{"teacher": "masks"}], "masks learn from masks"),
        ("phases.0.losses", [{"loss": None}], "a name, or its name and arguments"),
        ("cache", {"folder": "x", "variants": ["flip"]}, "the variant flip is unknown"),
        ("teacher_image_size", [384], "teacher_image_size"),
        ("common_teachers", [{"name": "sam"}], "give one of preset, keras_hub and file"),
        ("common_teachers", [{"name": "sam", "keras_hub": "a"}] * 2, "the same name"),
    ],
)
def test_what_distillation_cannot_use_is_told(path, value, words):
    with pytest.raises(InputError, match=re.escape(words)):
        load_settings(DistillConfig, changed(DISTILL, path, value))


def test_a_teachers_size_that_does_not_fit_is_told_at_once():
    config = {**DISTILL, "cache": {"folder": "x"}, "teacher_image_size": 384}
    with pytest.raises(InputError, match="together with a cache"):
        load_settings(DistillConfig, config)
    config = {**DISTILL, "image_size": 256, "teacher_image_size": [256, 384]}
    with pytest.raises(InputError, match="of 256 x 384 for the teachers and of 256 x 256 for"):
        load_settings(DistillConfig, config)


def test_the_phases_of_distillation_have_the_published_rates():
    phases = [{"phase": name} for name in ("common", "teacher", "controllers")]
    config = {**DISTILL, "phases": phases}
    config["common_teachers"] = [{"name": "sam", "keras_hub": "sam_base_sa1b"}]
    config["common_data"] = DISTILL["data"]
    loaded = load_settings(DistillConfig, config).phases
    assert [phase.learning_rate.rate for phase in loaded] == [1e-3, 1e-4, 5e-4]
    assert [phase.epochs for phase in loaded] == [20, 50, 200]
    assert {phase.batch_size for phase in loaded} == {4}
    assert [phase.one_modality for phase in loaded] == [False, True, True]
    for phase in loaded:
        assert phase.optimizer.name == "adam"
        assert (phase.learning_rate.schedule, phase.learning_rate.decay_per_epoch) == (
            "exponential",
            0.98,
        )
    config["phases"] = [{"phase": "common", "epochs": 3, "optimizer": {"name": "sgd"}}]
    (phase,) = load_settings(DistillConfig, config).phases
    assert (phase.epochs, phase.optimizer.name, phase.learning_rate.rate) == (3, "sgd", 1e-3)


def test_what_a_phase_does_not_say_is_as_published():
    phase = {"phase": "controllers", "learning_rate": {"rate": 0.1}, "optimizer": {"clipnorm": 1}}
    (phase,) = load_settings(DistillConfig, {**DISTILL, "phases": [phase]}).phases
    assert (phase.learning_rate.rate, phase.learning_rate.schedule) == (0.1, "exponential")
    assert (phase.optimizer.name, phase.optimizer.clipnorm) == ("adam", 1)


@pytest.mark.parametrize("loss", feature_losses)
def test_every_feature_loss_can_be_chosen(loss):
    config = changed(DISTILL, "phases.0.losses", [{"loss": loss}, {"loss": {"name": loss}}])
    (phase,) = load_settings(DistillConfig, config).phases
    assert [term.loss for term in phase.losses] == [loss, loss]


def test_masks_learn_by_cross_entropy_or_by_a_loss_of_masks():
    terms = [{"student": "masks"}, {"student": "masks", "loss": "standard"}, {}]
    (phase,) = load_settings(DistillConfig, changed(DISTILL, "phases.0.losses", terms)).phases
    assert [term.loss for term in phase.losses] == [None, "standard", "mse"]
    assert [term.of_masks for term in phase.losses] == [True, True, False]


def test_common_teachers_have_no_masks():
    config = {**DISTILL, "common_data": DISTILL["data"]}
    config["common_teachers"] = [{"name": "sam", "keras_hub": "sam_base_sa1b"}]
    config["phases"] = [{"phase": "both", "losses": [{"student": "masks"}]}]
    with pytest.raises(InputError, match="common teachers have no masks; add a term of a feature"):
        load_settings(DistillConfig, config)


@pytest.mark.parametrize("loss", losses)
def test_labels_have_every_loss(loss):
    given = {"name": loss, "name_of_an_argument": 1.5}
    config = changed(DISTILL, "phases.0", {"phase": "joint", "label_loss": given})
    assert load_settings(DistillConfig, config).phases[0].label_loss == given


@pytest.mark.parametrize("name", distillation_phases)
def test_every_phase_says_what_a_configuration_lacks(name):
    config = {key: DISTILL[key] for key in ("output", "student")}
    config["phases"] = [{"phase": name}, {"phase": "joint"}]
    with pytest.raises(InputError, match=f"the phase {name} needs {named_phase(name).needs[0]}"):
        load_settings(DistillConfig, config)
