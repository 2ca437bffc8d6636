import types

import numpy as np
from PIL import Image

from keras_espmedsam.data import Record
from keras_espmedsam.export import quantization_data
from keras_espmedsam.models import ESPMedSAMImageConverter


def test_images_are_measured_as_the_presets_intensity_shows_them(tmp_path):
    """It is applied once: 3,000 is bright between 0 and 4,095."""
    array = np.full((32, 32), 100, "uint16")
    array[:, 16:] = 3000
    Image.fromarray(array).save(tmp_path / "a.png")
    Image.fromarray(np.where(array > 1000, 255, 0).astype("uint8")).save(tmp_path / "m.png")
    record = Record("val", "xray", "lungs", tmp_path / "a.png", tmp_path / "m.png")
    converter = ESPMedSAMImageConverter((32, 32), intensity=(0, 4095))
    task = types.SimpleNamespace(
        modalities=("xray",),
        modality_indices=lambda modalities, count: np.zeros(count, "int32"),
        predict_probabilities=lambda images, indices: (images[..., 0] > 0).astype("float32"),
    )
    assert quantization_data._mean_dice(quantization_data._AtSize(task, converter), [record]) == 1
