"""Weights per pixel, against the losses of what they leave."""

import keras
import numpy as np
import pytest
from scipy.special import expit

from keras_espmedsam import losses
from keras_espmedsam.errors import InputError
from keras_espmedsam.losses import (
    BoundaryLoss,
    ClDiceLoss,
    DiceCELoss,
    DiceFocalLoss,
    DiceLoss,
    FocalLoss,
    FocalTverskyLoss,
    PatchLoss,
    TverskyLoss,
)

LOSSES = (
    DiceLoss,
    FocalLoss,
    DiceFocalLoss,
    PatchLoss,
    DiceCELoss,
    TverskyLoss,
    FocalTverskyLoss,
    ClDiceLoss,
    BoundaryLoss,
)
each = pytest.mark.parametrize("loss", LOSSES)


def _values(loss, batch, weights=None):
    return keras.ops.convert_to_numpy(loss(reduction=None)(*batch, sample_weight=weights))


@each
def test_pixels_of_weight_0_have_no_influence_on_values_and_gradients(loss, batch, input_gradient):
    y_true, logits = batch
    weights = np.ones_like(y_true)
    weights[:, 1:, 2:] = 0
    other_true, other_logits = y_true.copy(), logits.copy()
    other_true[:, 1:, 2:] = 1 - other_true[:, 1:, 2:]
    other_logits[:, 1:, 2:] *= -7
    expected = _values(loss, batch, weights)
    np.testing.assert_array_equal(_values(loss, (other_true, other_logits), weights), expected)
    gradient = input_gradient(lambda x: loss()(y_true, x, sample_weight=weights), logits)
    assert not gradient[:, 1:, 2:].any()
    assert gradient[:, 0].all()


@each
def test_an_image_is_what_its_pixels_of_weight_1_are(loss, batch):
    y_true = batch[0]
    weights = np.zeros_like(y_true)
    weights[:, :2, 1:4] = 1
    cropped = tuple(x[:, :2, 1:4] for x in batch)
    np.testing.assert_allclose(_values(loss, batch, weights), _values(loss, cropped), rtol=1e-5)


@each
@pytest.mark.parametrize("value", [1.0, 0.0, 0.3, 2.0])
def test_a_constant_map_is_the_weight_of_the_image(loss, value, batch):
    images = np.full(4, value, "float32")
    expected = _values(loss, batch, images)
    for shape in ((4, 3, 5, 1), (4, 3, 5)):
        found = _values(loss, batch, np.full(shape, value, "float32"))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(_values(loss, batch, images[:, None]).ravel(), expected, rtol=1e-6)
    np.testing.assert_allclose(_values(loss, batch) * value, expected, rtol=1e-6)


def test_by_numpy(batch):
    y_true, logits = (x.astype("float64") for x in batch)
    weights = np.random.default_rng(5).choice([0, 0.5, 1, 3], y_true.shape)
    p, axis = expit(logits), (1, 2, 3)
    number = (weights > 0).sum(axis)
    mean = weights.sum(axis) / number
    cross_entropy = -(y_true * np.log(p) + (1 - y_true) * np.log(1 - p))
    patch = (weights * cross_entropy).sum(axis) / number
    p_t = np.where(y_true == 1, p, 1 - p)
    focal = 0.8 * (weights * (1 - p_t) ** 2 * cross_entropy).sum(axis) / number
    w = weights / mean[:, None, None, None]
    dice = (2 * (w * p * y_true).sum(axis) + 1) / ((w * p).sum(axis) + (w * y_true).sum(axis) + 1)
    dice = mean * (1 - dice)
    forms = {PatchLoss: patch, FocalLoss: focal, DiceLoss: dice}
    forms[DiceFocalLoss] = 0.8 * dice + 0.2 * focal
    for loss, expected in forms.items():
        np.testing.assert_allclose(_values(loss, batch, weights), expected, rtol=1e-5)
        total = float(loss()(*batch, sample_weight=weights))
        assert total == pytest.approx(expected.mean(), rel=1e-5)


@each
def test_an_image_of_no_known_pixel_costs_nothing(loss, batch, input_gradient):
    y_true, logits = batch
    weights = np.ones_like(y_true)
    weights[1] = 0
    values = _values(loss, batch, weights)
    assert values[1] == 0
    np.testing.assert_allclose(values[[0, 2, 3]], _values(loss, batch)[[0, 2, 3]], rtol=1e-5)
    gradient = input_gradient(lambda x: loss()(y_true, x, sample_weight=weights), logits)
    assert np.isfinite(gradient).all() and not gradient[1].any()
    if hasattr(loss(), "smoothing"):
        no_smoothing = loss(smoothing=0.0, reduction=None)(*batch, sample_weight=weights)
        assert np.isfinite(keras.ops.convert_to_numpy(no_smoothing)).all()


@each
@pytest.mark.parametrize(
    "shape", [(4, 7), (7,), (4, 1, 3, 5), (4, 3, 4, 1), (3, 3, 5, 1), (3, 5), (4, 3, 5, 2)]
)
def test_other_shapes_are_refused(loss, shape, batch):
    with pytest.raises(InputError, match="sample_weight of shape") as error:
        loss()(*batch, sample_weight=np.ones(shape, "float32"))
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("name", ["EmbeddingMSE", "CosineEmbeddingLoss", "NormalizedMSE"])
def test_features_have_no_pixels(name, batch):
    loss = getattr(losses, name)()
    for shape in ((4, 3, 5, 1), (4, 3, 5), (4, 7)):
        with pytest.raises(InputError, match=f"{name} received a sample_weight"):
            loss(*batch, sample_weight=np.ones(shape, "float32"))
    assert np.isfinite(float(loss(*batch, sample_weight=np.ones((4, 1), "float32"))))


@pytest.mark.parametrize("loss", [one for one in LOSSES if one not in (DiceCELoss, PatchLoss)])
def test_a_loss_of_one_target_refuses_several(loss, batch):
    """What is not labelled would be taken for background."""
    several = [np.repeat(x, 3, axis=-1) for x in batch]
    words = rf"{loss.__name__} is a loss of one target, and received masks of 3 .*PerTargetLoss\("
    with pytest.raises(InputError, match=words):
        loss()(*several)
    assert np.isfinite(float(losses.PerTargetLoss(loss())(*several)))
