import pytest

from keras_espmedsam.cli.thresholds import GivenThresholds
from keras_espmedsam.data import Targets
from keras_espmedsam.errors import InputError

TARGETS = Targets({"xray": ("lungs", "heart"), "fundus": ("vessels",)})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, 0.5),
        ([], 0.5),
        (["0.3"], 0.3),
        (["0", "1"], 1.0),
        (["heart=0.3"], {"lungs": 0.5, "heart": 0.3, "vessels": 0.5}),
        (["heart=0.3", "0.9", "heart=.2"], {"lungs": 0.9, "heart": 0.2, "vessels": 0.9}),
    ],
)
def test_one_for_all_and_some_of_their_own(given, expected):
    assert GivenThresholds(given).of(TARGETS) == expected


@pytest.mark.parametrize("text", ["", "nan", "-0.1", "1.01", "heart=", "heart=half", "heart", "=2"])
def test_what_is_no_threshold(text):
    with pytest.raises(InputError, match=r"Received --threshold '.*'; expected a number from 0 to"):
        GivenThresholds([text])


def test_a_name_that_is_no_target():
    for name in ("hear", ""):
        with pytest.raises(InputError, match=rf"Received a threshold of '{name}'"):
            GivenThresholds([f"{name}=0.5"]).of(TARGETS)
