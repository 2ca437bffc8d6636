"""Losses by name: with arguments, from other packages, and what is none."""

import functools

import keras
import pytest

from keras_espmedsam import losses
from keras_espmedsam.errors import InputError
from keras_espmedsam.losses import EmbeddingMSE, FocalLoss
from keras_espmedsam.losses.named_loss import named_loss
from keras_espmedsam.registries import Registry


@pytest.fixture
def registry():
    found = Registry("some", "loss", {"focal": "keras_espmedsam.losses:FocalLoss"})
    found.register("sharp", functools.partial(FocalLoss, gamma=5.0))
    found.register("made", FocalLoss(gamma=7.0))
    found.register("function", lambda y_true, y_pred: 0.0)
    found.register("dict", dict)
    return found


@pytest.fixture
def get(registry):
    return functools.partial(named_loss, registry, shape=(2, 4, 4, 1))


def test_names_and_arguments(get):
    assert get("focal").gamma == 2.0
    assert get({"name": "focal"}).gamma == 2.0
    found = get({"name": "focal", "gamma": 1, "alpha": 0.5})
    assert (found.gamma, found.alpha) == (1, 0.5)
    assert get("sharp").gamma == 5.0
    assert get({"name": "sharp", "gamma": 1.0}).gamma == 1.0
    assert get("made").gamma == 7.0
    loss = EmbeddingMSE()
    assert get(loss) is loss


def test_each_is_made_anew(get):
    assert get("focal") is not get("focal")


@pytest.mark.parametrize(
    ("identifier", "words"),
    [
        ("focl", "Received loss='focl'; expected one of focal, .*; did you mean focal"),
        ({"name": "focl", "gamma": 1}, "Received loss={'name': 'focl', .* did you mean focal"),
        (
            {"gamma": 1},
            "Received loss={'gamma': 1}; expected one of focal, .* or a keras.losses",
        ),
        ({}, "Received loss={}; expected"),
        (3, "Received loss=3; expected"),
        (None, "Received loss=None; expected"),
        (FocalLoss, "Received loss=<class .*; expected one of focal"),
        (["focal"], r"Received loss=\['focal'\]; expected"),
        (
            {"name": "focal", "gama": 1},
            "no argument gama; did you mean gamma. Its arguments: alpha",
        ),
        ({"name": "focal", "zeta": 1}, "no argument zeta. Its arguments: alpha, gamma, reduction"),
        ({"name": "focal", 3: 1}, "no argument 3. Its arguments|keywords must be strings"),
        ({"name": "focal", "gamma": "two"}, "cannot be used with gamma='two'"),
        ({"name": "focal", "gamma": None}, "cannot be used with gamma=None"),
        ({"name": "focal", "gamma": [1, 2, 3]}, r"cannot be used with gamma=\[1, 2, 3\]"),
        ({"name": "focal", "reduction": "none"}, r"shape \(2,\); expected one number for a batch"),
        ({"name": "focal", "reduction": "all"}, "'focal' cannot be built with reduction='all'"),
        (
            {"name": "made", "gamma": 1},
            "was registered as an object, with its arguments; leave out gamma",
        ),
        (
            "function",
            "'function' cannot be built .* expected a class derived from keras.losses.Loss",
        ),
        ("dict", "'dict' makes an object of dict; expected a class derived"),
    ],
)
def test_what_is_no_loss_is_told_in_a_sentence(get, identifier, words):
    with pytest.raises(InputError, match=words) as error:
        get(identifier)
    assert len(str(error.value).splitlines()) == 1


def test_a_segmenters_losses_have_arguments_too():
    found = losses.get({"name": "PublishedDiceFocalLoss", "dice_weight": 0.5})
    assert found["masks"].dice_weight == 0.5 and isinstance(found["patches"], losses.PatchLoss)
    assert isinstance(losses.get(keras.losses.MeanSquaredError())["masks"], keras.losses.Loss)
