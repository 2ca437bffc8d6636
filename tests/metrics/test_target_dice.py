"""Dice of each target of each modality against NumPy, and the mean over targets."""

import keras
import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.losses.per_target_loss import of_modalities
from keras_espmedsam.metrics import TargetDice

NAMES = {"xray": ("lungs", "heart"), "fundus": ("vessels",), "slide": ("nuclei", "edges")}


@pytest.fixture
def batch():
    """Six images: of the fundus only channel 0 exists; some targets are not labelled."""
    rng = np.random.default_rng(3)
    truth = (rng.random((6, 4, 5, 3)) < 0.5).astype("float32")
    logits = rng.normal(0, 3, (6, 4, 5, 3)).astype("float32")
    modalities = np.array([0, 1, 0, 1, 0, 1], "int32")
    truth[0, ..., 1] = truth[3, ..., 0] = -1
    truth[..., 2] = -1
    truth[1::2, ..., 1:] = -1
    logits[1::2, ..., 1:] = -np.inf
    return truth, logits, modalities


def expected(truth, logits, modalities):
    scores = {}
    for row, (modality, targets) in enumerate(NAMES.items()):
        for column, target in enumerate(targets):
            found = []
            for one, other in zip(truth[modalities == row], logits[modalities == row], strict=True):
                a, b = one[..., column], other[..., column] >= 0
                if a.min() >= 0:
                    found.append(2 * (a * b).sum() / (a.sum() + b.sum()))
            scores[f"dice_{modality}/{target}"] = np.mean(found) if found else np.nan
    return scores | {"masks_dice": np.nanmean(list(scores.values()))}


def values(metric):
    return {name: float(value) for name, value in metric.result().items()}


def test_a_hidden_channel_beside_another_modality_s_targets_is_not_measured():
    metric = TargetDice({"fundus": ("v", "d", "c"), "microscopy": ("n",)})
    truth = np.ones((2, 2, 2, 3), "float32")
    truth[1, ..., 2] = -1
    logits = np.full((2, 2, 2, 3), 9.0, "float32")
    logits[1, ..., 1] = -9  # Only the hidden channel of microscopy is wrong.
    with of_modalities(np.array([0, 1])):
        metric.update_state(truth, logits)
    assert {name: float(value) for name, value in metric.result().items()} == {
        "masks_dice": 1.0,
        "dice_fundus/v": 1.0,
        "dice_fundus/d": 1.0,
        "dice_fundus/c": 1.0,
        "dice_microscopy/n": 1.0,
    }


def test_each_target_counts_once_however_many_images_label_it(batch):
    truth, logits, modalities = batch
    metric = TargetDice(NAMES)
    for part in (slice(0, 4), slice(4, 6)):
        with of_modalities(modalities[part]):
            metric.update_state(truth[part], logits[part])
    found = values(metric)
    assert found == pytest.approx(expected(*batch), nan_ok=True, abs=1e-6)
    assert np.isnan(found["dice_slide/nuclei"])
    by_image = np.mean([v for k, v in found.items() if k.startswith("dice_") and v == v])
    assert found["masks_dice"] == pytest.approx(by_image)
    metric.reset_state()
    assert all(map(np.isnan, values(metric).values()))


def test_images_of_weight_zero_do_not_count(batch):
    truth, logits, modalities = batch
    metric = TargetDice(NAMES)
    weight = np.array([1, 1, 0, 1, 1, 1], "float32")
    with of_modalities(modalities):
        metric.update_state(truth, logits, sample_weight=weight)
    kept = weight > 0
    ours = expected(truth[kept], logits[kept], modalities[kept])
    assert values(metric) == pytest.approx(ours, nan_ok=True, abs=1e-6)


def test_it_asks_nothing_of_the_host(batch, transfers):
    """An upload or a read makes a GPU wait."""
    metric = TargetDice(NAMES)
    truth, logits, modalities = map(keras.ops.convert_to_tensor, batch)

    def step():
        with of_modalities(modalities):
            metric.update_state(truth, logits)
        metric.result()

    assert transfers(step, before=1) == {}


def test_it_is_saved_with_its_names():
    config = keras.metrics.serialize(TargetDice(NAMES, threshold=0.7))
    metric = keras.metrics.deserialize(config)
    assert metric.threshold == 0.7
    assert list(metric.result()) == list(TargetDice(NAMES).result())


def test_bad_calls_are_told(batch):
    with pytest.raises(InputError, match=r"names=\{\}; expected a dict of each modality"):
        TargetDice({})
    with pytest.raises(InputError, match="was not told the modality"):
        TargetDice(NAMES).update_state(*batch[:2])
