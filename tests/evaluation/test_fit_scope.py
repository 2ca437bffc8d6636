import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import Record
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation import fit_scope, fit_scope_threshold
from keras_espmedsam.evaluation.fit_scope_threshold import shift_of
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


def test_the_threshold_moves_to_another_place(tmp_path):
    data = [one for one in records(tmp_path, 20) if one.split == "val"]
    able = Flat()
    # Brightness goes from 0 to 1, and images of eyes have about 0.614.
    able.scope = {"xray": [-0.4, 1.0, 0.0], "fundus": [-0.614, 1.0, 0.0]}
    seen = []
    xray, fundus = fit_scope_threshold(able, data, progress=seen.append)
    assert seen == data and (xray.modality, fundus.modality) == ("xray", "fundus")
    assert (xray.before, xray.after, xray.coefficients) == (0, 0, able.scope["xray"])
    assert (fundus.num_images, fundus.after) == (20, 0) and 5 < fundus.before < 13
    assert fundus.coefficients[0] < -0.614 and fundus.coefficients[1:] == [1.0, 0.0]
    moved = Flat()
    moved.scope = {"fundus": fundus.coefficients}
    (again,) = fit_scope_threshold(moved, data)
    assert again.before == again.after == 0


def test_images_of_another_kind_do_not_move_the_threshold(tmp_path):
    data = [one for one in records(tmp_path, 20) if one.split == "val"]
    able = Flat()
    able.scope = {"xray": [-0.4, 1.0, 0.0], "fundus": [-0.4, 1.0, 0.0]}
    with pytest.raises(InputError, match="20 of 20 images of fundus are out of scope"):
        fit_scope_threshold(able, data)


def test_the_shift_is_that_of_conformal_prediction():
    logits = np.random.default_rng(0).permutation(np.arange(1.0, 101.0))
    # Of 100 images the 99th: 99 of 101 places of a new one are at or below.
    assert shift_of(logits) == 99 and shift_of(logits[logits <= 49]) == 49
    # Chance explains 4 of 100 where 2 are expected, and 6 not.
    assert shift_of(logits - 96) == 0 and shift_of(logits - 94) == 5


@pytest.mark.parametrize(
    ("scope", "count", "words"), [({}, 20, "fit_scope makes one"), ({"xray": [0, 1, 0]}, 5, "19")]
)
def test_no_threshold_is_moved_without_a_scope_and_enough_images(tmp_path, scope, count, words):
    able = Flat()
    able.scope = scope
    with pytest.raises(InputError, match=words):
        fit_scope_threshold(able, records(tmp_path, count))
