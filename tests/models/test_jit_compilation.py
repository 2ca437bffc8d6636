import json
import zipfile

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.models.jit_compilation import check_jit_compile

TORCH = keras.backend.backend() == "torch"


def test_true_is_refused_on_torch_alone():
    for value in ("auto", False, None):
        check_jit_compile(value)
    if not TORCH:
        check_jit_compile(True)
        return
    with pytest.raises(InputError, match="leave it at"):
        check_jit_compile(True)


def test_a_model_saved_where_auto_was_true_trains_on_every_backend(tmp_path):
    backbone = kem.models.TiCBackbone(
        hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3
    )
    model = kem.models.TiCImageClassifier(backbone, class_names=("a", "b"))
    model.compile("sgd", run_eagerly=keras.backend.backend() == "tensorflow")
    path = tmp_path / "model.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    config["compile_config"]["jit_compile"] = True
    config["compile_config"]["run_eagerly"] = False
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    loaded = keras.saving.load_model(path)
    assert loaded.jit_compile is not TORCH
    if TORCH:
        images = np.zeros((2, 16, 16, 3), "float32")
        assert np.isfinite(loaded.train_on_batch(images, np.array([0, 1]))).all()
