"""An encoder and a loss of another package: in `espmedsam train`, in what it writes, in Python."""

import functools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

import keras_espmedsam as kem
from keras_espmedsam import registries
from keras_espmedsam.cli.app import app
from keras_espmedsam.errors import InputError
from keras_espmedsam.training.build_segmenter import build_segmenter
from keras_espmedsam.training.config.settings import load_settings
from keras_espmedsam.training.config.train_config import TrainConfig
from keras_espmedsam.training.run import learning_curves

ENCODER = """
import keras
import keras_hub
from keras_espmedsam.models import ImageEncoder


@keras.saving.register_keras_serializable(package="toy")
class PatchEncoder(keras_hub.models.Backbone, ImageEncoder):
    def __init__(self, width=8, image_shape=(None, None, 3), dtype=None, **kwargs):
        image = keras.Input(image_shape)
        patches = keras.layers.Conv2D(width, 16, strides=16, dtype=dtype, name="patches")(image)
        super().__init__(inputs=image, outputs=patches, dtype=dtype, **kwargs)
        self.width = width
        self.image_shape = image_shape
        self.output_stride = self.size_multiple = 16

    def get_config(self):
        return {**super().get_config(), "width": self.width, "image_shape": self.image_shape}
"""
LOSS = """
import keras
from keras import ops


@keras.saving.register_keras_serializable(package="toy")
class TverskyLoss(keras.losses.Loss):
    def __init__(self, beta=0.5, **kwargs):
        super().__init__(**kwargs)
        self.beta = beta

    def call(self, y_true, y_pred):
        p, axis = ops.sigmoid(y_pred), (1, 2, 3)
        hit = ops.sum(p * y_true, axis=axis)
        over, under = ops.sum(p * (1 - y_true), axis=axis), ops.sum((1 - p) * y_true, axis=axis)
        return 1 - (hit + 1) / (hit + self.beta * over + (1 - self.beta) * under + 1)

    def get_config(self):
        return {**super().get_config(), "beta": self.beta}
"""
NAMES = ["xray", "fundus"]


@pytest.fixture
def toys(installed_plugin):
    return functools.partial(
        installed_plugin,
        {"toy_encoder.py": ENCODER, "toy_loss.py": LOSS},
        {
            "image_encoders": {"patches": "toy_encoder:PatchEncoder"},
            "losses": {"tversky": "toy_loss:TverskyLoss"},
        },
    )


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
        image = mask[..., None] // 2 + rng.integers(0, 60, (32, 32, 3), "uint8")
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        split, name = ("val" if i > 1 else "train"), NAMES[i % 2]
        lines.append(f"{split},{name},{name}s,{i}.png,{i}_mask.png")
    (tmp_path / "index.csv").write_text("\n".join(lines))
    decoder = {"transformer_depth": 1, "transformer_num_heads": 1, "transformer_mlp_dim": 8}
    return {
        "output": str(tmp_path / "run"),
        "model": {
            "encoder": {"kind": "patches", "width": 8},
            "decoder": decoder,
            "modalities": NAMES,
            "controllers": False,
        },
        "data": {"sources": [{"index": str(tmp_path / "index.csv")}]},
        "phases": [
            {"image_size": 32, "epochs": 1, "steps": 1, "batch_size": 2}
            | {"loss": {"name": "tversky", "beta": 0.25}}
        ],
    }


# What depends on the backend is tested on all three in tests/training.
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="a run is slow to compile")
def test_train_yaml_names_an_encoder_and_a_loss_of_another_package(toys, config, tmp_path):
    site = toys()
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    result = CliRunner().invoke(app, ["train", str(tmp_path / "train.yaml")])
    assert result.exit_code == 0, result.output
    # In another program, which has not imported the package.
    lines = [
        "import sys, numpy as np, keras_espmedsam as kem",
        f"model = kem.models.ESPMedSAMImageSegmenter.from_preset({config['output'] + '/preset'!r})",
        "print(type(model.backbone.image_encoder).__name__, model.backbone.image_encoder.width)",
        "image = np.full((32, 32, 3), 90, 'uint8')",
        "print(model.segment(image, 'xray')['masks'].shape, 'toy_loss' in sys.modules)",
    ]
    found = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    assert found.stdout.splitlines() == ["PatchEncoder 8", "(32, 32) False"], found.stderr
    assert site.is_dir()


def test_configurations_name_what_is_installed(toys, config):
    words = "model.encoder.kind: 'patches'; expected 'tiny_vit'"
    with pytest.raises(InputError, match=words):
        load_settings(TrainConfig, config)
    toys()
    settings = load_settings(TrainConfig, config)
    assert settings.model.encoder.kind == "patches"
    assert settings.phases[0].loss == {"name": "tversky", "beta": 0.25}
    # As a run's config.yaml holds it.
    assert load_settings(TrainConfig, settings.model_dump(mode="json", exclude_unset=True)) == (
        settings
    )
    for loss, words in (
        ("tversk", "phases.0.loss: 'tversk'; expected 'standard', .*did you mean tversky"),
        ({"name": "tversk"}, "'tversk'.; expected 'standard', .*did you mean tversky"),
        ({"beta": 1}, "expected a name, or its name and arguments"),
    ):
        with pytest.raises(InputError, match=words):
            load_settings(TrainConfig, {**config, "phases": [{"loss": loss}]})


def test_arguments_that_do_not_fit_end_a_run_before_it_begins(toys, config, tmp_path):
    toys()
    for given, words in (
        ({"beat": 1}, "'tversky' has no argument beat; did you mean beta"),
        ({"beta": "half"}, "'tversky' cannot be used with beta='half'"),
        ({"beta": 1, "reduction": "none"}, "expected one number for a batch"),
    ):
        config["phases"] = [{"image_size": 32}, {"loss": {"name": "tversky", **given}}]
        with pytest.raises(InputError, match=words):
            kem.training.train(config, report=lambda _: None)
    assert not (tmp_path / "run").exists()


def test_an_installed_loss_in_python(toys):
    toys()
    loss = kem.losses.get({"name": "tversky", "beta": 0.25})["masks"]
    truth = np.array([1, 1, 0, 0], "float32").reshape(1, 2, 2, 1)
    # Logits of 0: a half of each pixel; 1 - (1 + 1) / (1 + 0.25 + 0.75 + 1).
    assert float(loss(truth, np.zeros_like(truth))) == pytest.approx(1 - 2 / 3, abs=1e-6)


def test_a_registered_encoder_and_loss(installed_plugin, config):
    installed_plugin({"toy_encoder.py": ENCODER, "toy_loss.py": LOSS})
    import toy_encoder
    import toy_loss

    registries.image_encoders.register("patches", toy_encoder.PatchEncoder)
    registries.losses.register("tversky", "toy_loss:TverskyLoss")
    try:
        loss = kem.losses.get("tversky")["masks"]
        model = build_segmenter(load_settings(TrainConfig, config).model, image_size=(32, 32))
    finally:
        registries.image_encoders.unregister("patches")
        registries.losses.unregister("tversky")
    assert type(loss) is toy_loss.TverskyLoss and loss.beta == 0.5
    model.compile(optimizer="sgd", loss=loss)
    assert isinstance(model.backbone.image_encoder, toy_encoder.PatchEncoder)
    assert keras.ops.shape(model.backbone.image_encoder(np.zeros((1, 32, 48, 3)))) == (1, 2, 3, 8)


def _in_another_program(lines, **environment):
    lines = ["import keras, keras_espmedsam.models as models", *lines]
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    return found.stdout.splitlines(), found.stderr


# Loading is the same on all backends, and a program of its own takes seconds to start.
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="two programs are slow to start")
def test_what_is_saved_is_loaded_where_the_package_is_and_told_where_it_is_not(
    toys, config, tmp_path
):
    toys()
    model = build_segmenter(load_settings(TrainConfig, config).model, image_size=(32, 32))
    model.compile(optimizer="sgd", loss={"name": "tversky", "beta": 0.25})
    model.save(tmp_path / "model.keras")
    model.save_to_preset(str(tmp_path / "preset"))
    config["model"]["encoder"] = {"kind": "tic", "hidden_dims": [8, 8], "depths": [1, 1]} | {
        "num_heads": [1, 1],
        "kernel_size": 3,
    }
    model = build_segmenter(load_settings(TrainConfig, config).model, image_size=(32, 32))
    model.compile(optimizer="sgd", loss="tversky")
    model.save(tmp_path / "loss.keras")
    load = f"keras.saving.load_model({str(tmp_path / 'model.keras')!r})"
    preset = f"models.ESPMedSAMImageSegmenter.from_preset({str(tmp_path / 'preset')!r})"
    loss = f"keras.saving.load_model({str(tmp_path / 'loss.keras')!r}"
    lines = [
        f"print({load}.loss['masks'].beta)",
        f"print({preset}.backbone.image_encoder.width)",
        f"print({loss}).loss['masks'].beta)",
    ]
    found, stderr = _in_another_program(lines)
    assert found == ["0.25", "8", "0.5"], stderr
    tried = (load, preset, loss + ")", loss + ", compile=False).modalities")
    lines = [f"try: print({one})\nexcept ValueError as error: print(error)" for one in tried]
    found, stderr = _in_another_program(lines, PYTHONPATH="")
    encoder = "The image encoder 'toy>PatchEncoder' of the module 'toy_encoder' is not known here"
    encoder += "; install the package that defines it, or import it first."
    assert found == [
        encoder,
        encoder,
        "The loss 'toy>TverskyLoss' of the module 'toy_loss' is not known here; install the "
        "package that defines it, or import it first, or load with compile=False.",
        "('xray', 'fundus')",
    ], stderr
    # One that is installed and broken is told as such.
    (tmp_path / "site-packages" / "toy_encoder.py").write_text("import no_such_library")
    found, stderr = _in_another_program(lines[:1])
    assert (
        "'patches', which another package added as 'toy_encoder:PatchEncoder', cannot be imp"
        in (found[0])
    ), stderr
