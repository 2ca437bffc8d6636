"""A phase and a feature loss of another package: in `espmedsam distill` and in Python."""

import keras
import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

import keras_espmedsam as kem
from keras_espmedsam import registries
from keras_espmedsam.cli.app import app
from keras_espmedsam.distillation import DecoupledDistiller, FeatureLoss
from keras_espmedsam.distillation.config import DistillConfig
from keras_espmedsam.distillation.phases import StudentPhase, named_phase
from keras_espmedsam.errors import InputError
from keras_espmedsam.training.config.settings import load_settings
from keras_espmedsam.training.run import learning_curves

PHASE = """
from keras_espmedsam.distillation.phases import StudentPhase


class NeckPhase(StudentPhase):
    learning_rate, epochs = 3e-2, 7
    keys = ("losses", "label_loss", "layers")
    needs = ("data", "medical_teacher")
    labels = True
    batch_statistics = ("domain",)
    names = ("neck",)

    def begin(self, run, settings):
        NeckPhase.names = settings.model_extra.get("layers", self.names)
        return super().begin(run, settings)

    def variables(self, backbone, encoder, stream):
        return [v for v in encoder.trainable_variables if any(n in v.path for n in self.names)]
"""
LOSS = """
import keras


@keras.saving.register_keras_serializable(package="toy")
class MaximumLoss(keras.losses.Loss):
    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, y_true, y_pred):
        return self.factor * keras.ops.max(keras.ops.abs(y_true - y_pred), axis=(1, 2, 3))

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}
"""
FILES = {"neck_phase.py": PHASE, "maximum_loss.py": LOSS}
ENTRY_POINTS = {
    "distillation_phases": {"neck": "neck_phase:NeckPhase"},
    "feature_losses": {"maximum": "maximum_loss:MaximumLoss"},
}


def encoder(**options):
    return {"kind": "tiny_vit", "hidden_dims": [8, 8, 8, 8], "depths": [1, 1, 1, 1]} | {
        **{"num_heads": [1, 1, 1], "window_sizes": [4, 4, 4], "neck_dim": 8, **options}
    }


@pytest.fixture
def config(tmp_path, monkeypatch):
    """One step on four images of 32 x 32."""
    monkeypatch.setattr(learning_curves, "_draw", lambda *_: None)
    rng = np.random.default_rng(0)
    lines = ["split,modality,dataset,image,mask"]
    for i in range(4):
        mask = np.zeros((32, 32), "uint8")
        mask[:, i : i + 16] = 255
        Image.fromarray(mask).save(tmp_path / f"{i}_mask.png")
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), "uint8")).save(tmp_path / f"{i}.png")
        lines.append(f"{'val' if i > 1 else 'train'},xray,xrays,{i}.png,{i}_mask.png")
    (tmp_path / "index.csv").write_text("\n".join(lines))
    decoder = {"transformer_depth": 1, "transformer_num_heads": 1, "transformer_mlp_dim": 8}
    model = {"encoder": encoder(), "decoder": decoder, "modalities": ["xray"]}
    return {
        "output": str(tmp_path / "run"),
        "image_size": 32,
        "student": model,
        "medical_teacher": model,
        "data": {"sources": [{"index": str(tmp_path / "index.csv")}]},
        "phases": [
            {"phase": "neck", "epochs": 1, "steps": 1, "batch_size": 2, "layers": ["neck"]}
            | {"losses": [{"loss": {"name": "maximum", "factor": 2}}], "label_loss": "DiceLoss"},
        ],
    }


# What depends on the backend is tested on all three in tests/distillation.
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="a run is slow to compile")
def test_distill_yaml_names_a_phase_and_a_loss_of_another_package(
    installed_plugin, config, tmp_path
):
    installed_plugin(FILES, ENTRY_POINTS)
    (tmp_path / "distill.yaml").write_text(yaml.safe_dump(config))
    result = CliRunner().invoke(app, ["distill", str(tmp_path / "distill.yaml")])
    assert result.exit_code == 0, result.output
    header = (tmp_path / "run" / "1-neck" / "curves.csv").read_text().splitlines()[0].split(",")
    assert {"domain_embedding_maximum", "label_masks", "label_patches"} <= set(header)
    student = kem.models.ESPMedSAMImageSegmenter.from_preset(str(tmp_path / "run" / "preset"))
    assert student.modalities == ("xray",)


def test_a_configuration_has_what_the_phase_says_of_itself(installed_plugin, config):
    with pytest.raises(InputError, match=r"phases.0.phase: 'neck'; expected 'common', 'teacher'"):
        load_settings(DistillConfig, {**config, "phases": [{"phase": "neck"}]})
    installed_plugin(FILES, ENTRY_POINTS)
    (phase,) = load_settings(DistillConfig, {**config, "phases": [{"phase": "neck"}]}).phases
    assert (phase.learning_rate.rate, phase.epochs) == (3e-2, 7)
    assert phase.learning_rate.schedule == "exponential" and phase.optimizer.name == "adam"
    settings = load_settings(DistillConfig, config)
    (phase,) = settings.phases
    assert phase.model_extra == {"layers": ["neck"]} and phase.epochs == 1
    # As a run's config.yaml holds it.
    assert load_settings(DistillConfig, settings.model_dump(mode="json", exclude_unset=True)) == (
        settings
    )
    for key, value, words in (
        ("phase", "nek", "phases.0.phase: 'nek'; expected 'common', .* did you mean neck"),
        ("layer", ["a"], "unknown key phases.0.layer; did you mean layers"),
        ("use_teacher", False, "use_teacher belongs to the phase joint, not to neck"),
        ("losses", [{"loss": "maximun"}], "'maximun'; expected 'mse', .* did you mean maximum"),
    ):
        changed = {**config, "phases": [{**config["phases"][0], key: value}]}
        with pytest.raises(InputError, match=words):
            load_settings(DistillConfig, changed)
    with pytest.raises(InputError, match="the phase neck needs medical_teacher"):
        load_settings(DistillConfig, {**config, "medical_teacher": None})
    # Of the other phases such a key is unknown.
    with pytest.raises(InputError, match=r"unknown key phases.0.layers"):
        load_settings(DistillConfig, {**config, "phases": [{"phase": "joint", "layers": []}]})


def test_a_distiller_trains_what_an_installed_phase_says(installed_plugin):
    installed_plugin(FILES, ENTRY_POINTS)
    options = {name: value for name, value in encoder().items() if name != "kind"}
    student, teacher = (kem.models.TinyViTBackbone(**options) for _ in range(2))
    distiller = DecoupledDistiller(
        student, domain_teachers=teacher, phase="neck", losses=FeatureLoss(loss="maximum")
    )
    paths = {variable.path for variable in distiller.trainable_variables}
    assert paths and paths == {v.path for v in student.trainable_variables if "neck" in v.path}
    twin = DecoupledDistiller.from_config(distiller.get_config())
    assert (twin.phase, twin.streams) == ("neck", ("domain",))
    with pytest.raises(InputError, match="The phase 'neck' needs domain_teachers"):
        DecoupledDistiller(student, phase="neck")


def test_installed_feature_losses_in_python(installed_plugin):
    installed_plugin(FILES, ENTRY_POINTS)
    term = FeatureLoss(loss={"name": "maximum", "factor": 3})
    assert term.name == "embedding_maximum"
    teacher = np.zeros((1, 2, 2, 2), "float32")
    assert float(term(teacher, teacher + 2)) == 6
    with pytest.raises(InputError, match="'maximum' has no argument fctor; did you mean factor"):
        FeatureLoss(loss={"name": "maximum", "fctor": 3})


def test_a_registered_phase_and_what_is_none():
    class Heads(StudentPhase):
        streams = ("common",)

    registries.distillation_phases.register("heads", Heads)
    registries.distillation_phases.register("none", dict)
    try:
        assert named_phase("heads").streams == ("common",)
        with pytest.raises(InputError, match="'none' is of type dict; expected a class derived"):
            named_phase("none")
        # Those that train the student; one that is no phase is not among them.
        with pytest.raises(InputError, match="of common, controllers, both, joint, heads; did you"):
            DecoupledDistiller(None, phase="head")
        with pytest.raises(InputError, match="expected one of common, controllers, both, joint"):
            DecoupledDistiller(None, phase="teacher")
    finally:
        registries.distillation_phases.unregister("heads")
        registries.distillation_phases.unregister("none")
