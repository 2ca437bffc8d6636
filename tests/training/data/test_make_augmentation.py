"""What a configuration says of augmentation, as objects."""

import keras
import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.training import MEDICAL_RANGES, Augmentation
from keras_espmedsam.training.config.train_config import AddModalitySettings
from keras_espmedsam.training.data.make_augmentation import make_augmentation, make_layers

NAMES = ("xray", "fundus")


def test_augmentation_by_modality():
    medical = make_augmentation("medical", ("xray", "mri"))
    assert medical["xray"].rotation == 10 and medical["mri"] == kem.training.Augmentation()
    assert make_augmentation("none", ("xray",)) == {}
    given = make_augmentation({"xray": {"rotation": 3}}, ("xray", "mri"))
    assert set(given) == {"xray"} and given["xray"].rotation == 3
    with pytest.raises(InputError, match=r"augmentation\.xry"):
        make_augmentation({"xry": {}}, ("xray",))
    with pytest.raises(InputError, match="rotate"):
        make_augmentation({"xray": {"rotate": 3}}, ("xray",))


def test_keras_layers_by_name():
    assert isinstance(make_layers([{"layer": "RandomFlip"}])[0], keras.layers.RandomFlip)
    with pytest.raises(InputError, match=r"keras_augmentation\.0\.layer=Flip"):
        make_layers([{"layer": "Flip"}])
    with pytest.raises(InputError, match="cannot be built"):
        make_layers([{"layer": "RandomFlip", "modes": 1}])


def test_a_data_set_may_have_an_augmentation_of_its_own():
    record = kem.data.Record("train", "fundus", "drive", "a.png")
    made = make_augmentation(
        {"default": {"rotation": 5}, "drive": {"rotation": 7}}, NAMES, [record]
    )
    assert {name: one.rotation for name, one in made.items()} == {
        "xray": 5,
        "fundus": 5,
        "drive": 7,
    }
    with pytest.raises(InputError, match=r"augmentation.chase; .* the data sets are drive"):
        make_augmentation({"chase": {}}, NAMES, [record])


def test_an_added_modality_is_augmented_as_the_one_it_starts_from():
    for source, expected in (("fundus", MEDICAL_RANGES["fundus"]), (None, Augmentation())):
        added = AddModalitySettings(name="retina", init_from=source)
        assert make_augmentation("medical", (*NAMES, "retina"), (), added) == {"retina": expected}
        given = make_augmentation({"retina": {"rotation": 2}}, (*NAMES, "retina"), (), added)
        assert given["retina"].rotation == 2
