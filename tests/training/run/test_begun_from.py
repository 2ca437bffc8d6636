"""The origins of a run, by its configuration alone."""

import pytest

from keras_espmedsam.distillation.config import DistillConfig
from keras_espmedsam.distillation.distilled_from import distilled_from
from keras_espmedsam.hub.built_in_presets import versioned_name
from keras_espmedsam.hub.checksums import file_sha256
from keras_espmedsam.hub.origins import Origin, write_origins
from keras_espmedsam.training.config.model_settings import ModelSettings
from keras_espmedsam.training.config.settings import load_settings
from keras_espmedsam.training.run.begun_from import begun_from

LITE0 = Origin("image encoder", "EfficientNet-Lite0", "Apache-2.0")


@pytest.fixture
def lite0(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    write_origins(tmp_path, [LITE0], converted=True)
    return str(tmp_path)


def test_of_a_model(lite0):
    assert begun_from(ModelSettings(encoder={"kind": "tiny_vit"})) == []
    encoder = {"kind": "keras_hub", "preset": lite0}
    assert begun_from(ModelSettings(encoder=encoder)) == [LITE0]
    assert begun_from(ModelSettings(encoder={**encoder, "load_weights": False})) == []
    settings = ModelSettings(preset="espmedsam_nano_256")
    assert begun_from(settings)[0][:2] == ("model", versioned_name(settings.preset))
    assert begun_from(settings.model_copy(update={"load_weights": False})) == []


def test_of_a_student_and_its_teachers(lite0, tmp_path):
    file = tmp_path / "sam.keras"
    file.write_bytes(b"weights")
    config = {
        "output": str(tmp_path / "run"),
        "student": {"encoder": {"kind": "keras_hub", "preset": lite0}},
        "common_teachers": [
            {"name": "sam", "keras_hub": "sam_base_sa1b"},
            {"name": "file", "file": str(file)},
        ],
        "medical_teacher": {"encoder": {"kind": "keras_hub", "preset": lite0}},
        "common_data": {"sources": [{"folder": lite0}]},
        "phases": [{"phase": "common"}],
    }
    found = distilled_from(load_settings(DistillConfig, config))
    assert found == [
        LITE0,
        Origin("teacher", "sam_base_sa1b", source="keras-hub"),
        Origin("teacher", "sam.keras", sha256=file_sha256(file)),
        LITE0._replace(part="image encoder of the teacher"),
    ]
