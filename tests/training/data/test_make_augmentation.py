"""What a configuration says of augmentation, as objects."""

import dataclasses

import keras
import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.training import MEDICAL_RANGES, Augmentation, make_appearance
from keras_espmedsam.training.config.train_config import AddModalitySettings
from keras_espmedsam.training.data.augmentation import PLACED
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


def test_appearance_goes_with_every_kind_of_augmentation():
    gamma = make_appearance({"gamma": 0.5})
    for settings, ranges in (
        ("none", PLACED),
        ("medical", MEDICAL_RANGES["xray"]),
        ({"xray": {"rotation": 3}}, Augmentation(rotation=3)),
    ):
        made = make_augmentation(settings, NAMES, appearance={"gamma": 0.5})
        assert set(made) == set(NAMES)
        assert made["xray"] == dataclasses.replace(ranges, appearance=gamma)
    assert made["fundus"] == dataclasses.replace(PLACED, appearance=gamma)


def test_a_modality_or_data_set_may_have_an_appearance_of_its_own():
    record = kem.data.Record("train", "fundus", "drive", "a.png")
    given = {"default": {}, "xray": {"appearance": "none"}, "drive": {"appearance": {"jpeg": 1}}}
    made = make_augmentation(given, NAMES, [record], appearance={"gamma": 0.5})
    assert {name: [type(one).__name__ for one in of.appearance] for name, of in made.items()} == {
        "xray": [],
        "fundus": ["Gamma"],
        "drive": ["JPEGCompression"],
    }


def test_an_added_modality_has_the_appearance():
    added = AddModalitySettings(name="retina", init_from="fundus")
    for settings in ("medical", "none"):
        made = make_augmentation(settings, (*NAMES, "retina"), (), added, "standard")
        assert set(made) == {"retina"}
        assert made["retina"].appearance == make_appearance("standard")


def test_what_is_said_of_a_data_set_that_is_left_out_is_ignored():
    record = kem.data.Record("train", "fundus", "drive", "a.png")
    given = {"default": {"rotation": 5}, "hrf": {"rotation": 7}}
    made = make_augmentation(given, NAMES, [record], excluded=["hrf"])
    assert set(made) == set(NAMES)
    with pytest.raises(InputError, match=r"augmentation.hrf; .* for all others"):
        make_augmentation(given, NAMES, [record])
