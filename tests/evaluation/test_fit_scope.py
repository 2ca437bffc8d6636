import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import Record
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation import fit_scope
from keras_espmedsam.models import ESPMedSAMImageConverter

GREY = {"xray": 60, "fundus": 160}


class Flat:
    """A segmenter whose embedding is the image, for a single channel."""

    modalities = ("xray", "fundus", "dermoscopy")
    image_converter = ESPMedSAMImageConverter(image_size=(32, 32))
    inputs = ()

    def embedding_model(self):
        return self

    def model_inputs(self, images, indices):
        return {"images": images, "modalities": indices}

    def predict_on_batch(self, inputs):
        assert inputs["images"].shape == (8, 32, 32, 3)
        return inputs["images"][..., :1]


def records(folder, count=10):
    """Dark X-rays and bright images of eyes, of which the last val image is far too bright."""
    found, rng = [], np.random.default_rng(0)
    for split in ("train", "val"):
        for modality, grey in GREY.items():
            for i in range(count):
                path = folder / f"{split}_{modality}_{i}.png"
                pixels = rng.integers(grey - 20, grey + 20, (32, 32)).astype("uint8")
                Image.fromarray(pixels).save(path)
                found.append(Record(split, modality, "clinic", path))
    return found


def score(coefficients, brightness, deviation):
    converter = Flat.image_converter
    mean, other = (
        converter.convert(np.full((32, 32, 3), one, "uint8"))[0, 0, 0]
        for one in (brightness, brightness + 1)
    )
    logit = np.dot(coefficients, [1, mean, deviation * (other - mean)])
    return 2 / (1 + np.exp(-logit))


def test_images_of_another_modality_are_out_of_scope(tmp_path):
    data = records(tmp_path)
    seen = []
    found = fit_scope(Flat(), data, progress=seen.append)
    assert list(found) == ["xray", "fundus"]  # There are no images of the third.
    assert seen == data
    for modality, grey in GREY.items():
        (other,) = set(GREY.values()) - {grey}
        assert score(found[modality], grey, 11.5) < 1 < score(found[modality], other, 11.5)


def test_the_val_images_set_the_threshold(tmp_path):
    data = records(tmp_path)
    plain = fit_scope(Flat(), data)["xray"]
    (last,) = (one for one in data if one.image.name == "val_xray_9.png")
    pixels = np.random.default_rng(0).integers(70, 110, (32, 32)).astype("uint8")
    Image.fromarray(pixels).save(last.image)
    wider = fit_scope(Flat(), data)["xray"]
    assert wider[0] < plain[0] and wider[1:] == plain[1:]
    # Of 10 images none may be flagged.
    assert score(wider, pixels.mean(), pixels.std()) == pytest.approx(1, abs=0.01)


def test_other_images_take_the_place_of_other_modalities(tmp_path):
    data = [one for one in records(tmp_path) if one.modality == "fundus"]
    with pytest.raises(InputError, match="at least 8 train images"):
        fit_scope(Flat(), data)
    rng = np.random.default_rng(1)
    others = [rng.integers(40, 80, (20, 30, 3), "uint8") for _ in range(8)]
    found = fit_scope(Flat(), data, others)
    assert list(found) == ["fundus"]
    assert score(found["fundus"], 160, 11.5) < 1 < score(found["fundus"], 60, 11.5)


def test_exported_models_are_refused():
    with pytest.raises(InputError, match="before you export"):
        fit_scope(object(), [])
