import keras
import numpy as np
import pytest

from keras_espmedsam.distillation import MaskLoss
from keras_espmedsam.errors import InputError


def test_it_is_the_cross_entropy_of_what_is_known_smallest_where_both_agree():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 4, 4, 2)).astype("float32")
    truth = 1 / (1 + np.exp(-rng.normal(size=logits.shape)))
    truth[0, ..., 1] = truth[2] = -1
    loss = MaskLoss().of_targets()
    sure = 1 / (1 + np.exp(-logits.astype("float64")))
    each = -(truth * np.log(sure) + (1 - truth) * np.log(1 - sure)).mean(axis=(1, 2))
    expected = (each[0, 0] + each[1].mean() + 0) / 3
    np.testing.assert_allclose(float(loss(truth, logits)), expected, rtol=1e-5)
    agreed = np.where(truth < 0, 0, np.log(np.abs(truth) / np.abs(1 - truth + 1e-9)))
    least = float(loss(truth, agreed.astype("float32")))
    for change in (0.1, -0.1):
        assert float(loss(truth, (agreed + change).astype("float32"))) > least


@pytest.mark.slow_on("jax")  # Where the loss itself is tested.
def test_it_is_the_cross_entropy_of_a_group_and_its_background():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, 4, 4, 2))
    shares = np.exp(scores) / (1 + np.exp(scores).sum(axis=-1, keepdims=True))
    logits = np.log(shares / (1 - shares)).astype("float32")
    truth = rng.dirichlet((1, 1, 1), size=(2, 4, 4))[..., :2]
    whole = np.concatenate([shares, 1 - shares.sum(axis=-1, keepdims=True)], axis=-1)
    rest = np.concatenate([truth, 1 - truth.sum(axis=-1, keepdims=True)], axis=-1)
    expected = -(rest * np.log(whole)).sum(axis=-1).mean()
    found = MaskLoss().of_targets([(1, 1)])(truth, logits)
    np.testing.assert_allclose(float(found), expected, rtol=1e-4)


def test_names_losses_and_configs():
    terms = [MaskLoss(), MaskLoss("standard", 0.5), MaskLoss({"name": "FocalLoss", "gamma": 1.0})]
    assert [term.name for term in terms] == [
        "masks_cross_entropy",
        "masks_standard",
        "masks_FocalLoss",
    ]
    for term in terms:
        twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(term))
        assert (twin.name, twin.weight) == (term.name, term.weight)
        assert twin.loss.get_config() == term.loss.get_config()
    for loss, message in (
        ("published", "one value for the whole batch"),
        ("mse", "Received loss='mse'; expected one of standard"),
    ):
        with pytest.raises(InputError, match=message):
            MaskLoss(loss)
    with pytest.raises(InputError, match="weight=0; expected a number above 0"):
        MaskLoss(weight=0)
