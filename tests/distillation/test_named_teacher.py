"""A teacher from a file of Keras, which may be a stranger's."""

from pathlib import Path

import keras
import pytest

from keras_espmedsam.distillation.config import TeacherSettings
from keras_espmedsam.distillation.named_teacher import named_teacher
from keras_espmedsam.errors import InputError


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_no_function_in_a_file_runs(tmp_path, suffix):
    witness = str(tmp_path / "ran")
    planted = keras.layers.Lambda(lambda x: [open(witness, "w").close(), x][1])
    path = tmp_path / f"teacher{suffix}"
    image = keras.Input((32, 32, 3))
    keras.Model(image, keras.layers.Conv2D(4, 16, strides=16)(planted(image))).save(path)
    settings = TeacherSettings(name="sam", file=path, normalization="unit")
    Path(witness).unlink()  # It ran as the file was made.
    with pytest.raises(InputError, match=r"The teacher sam cannot be loaded from"):
        named_teacher(settings)
    assert not Path(witness).exists()
