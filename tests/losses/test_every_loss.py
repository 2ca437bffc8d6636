"""What holds for every loss: those of the package's face, and those of the registries."""

import inspect

import keras
import numpy as np
import pytest

from keras_espmedsam import losses, registries
from keras_espmedsam.errors import InputError
from keras_espmedsam.losses.batch_loss import BatchLoss
from keras_espmedsam.losses.image_loss import ImageLoss
from keras_espmedsam.losses.pixel_loss import PixelLoss

# What wraps another loss has tests of its own.
PUBLIC = [getattr(losses, name) for name in losses.__all__ if name not in ("get", "PerTargetLoss")]
NAMED = [
    registry.load(name)
    for registry in (registries.losses, registries.feature_losses)
    for name in registry
]
LOSSES = list(dict.fromkeys([*PUBLIC, *NAMED]))
WHOLE_BATCH = [loss for loss in LOSSES if issubclass(loss, BatchLoss)]
PER_IMAGE = [loss for loss in LOSSES if loss not in WHOLE_BATCH]
PER_PIXEL = [loss for loss in PER_IMAGE if issubclass(loss, PixelLoss)]
SHAPE = (4, 3, 5, 1)

every = pytest.mark.parametrize("loss", LOSSES)


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def test_all_losses_are_of_a_kind_and_are_found_by_name():
    assert all(issubclass(loss, (PixelLoss, ImageLoss, BatchLoss)) for loss in LOSSES)
    assert set(NAMED) <= set(PUBLIC)
    # That of the patches has no other, and no name.
    assert set(PUBLIC) - set(NAMED) == {losses.PatchLoss}
    for name in registries.losses:
        masks = losses.get(name)["masks"]
        assert type(masks) is registries.losses.load(name)
        assert name in ("standard", "published") or type(masks).__name__ == name


@every
def test_one_value_per_image_or_one_for_the_batch(loss, batch):
    each = array(loss(reduction=None)(*batch))
    assert each.shape == ((1,) if loss in WHOLE_BATCH else (4,))
    assert each.dtype == np.float32 and np.isfinite(each).all() and (each >= 0).all()
    assert float(loss()(*batch)) == pytest.approx(each.mean(), rel=1e-6)
    assert float(loss(reduction="sum")(*batch)) == pytest.approx(each.sum(), rel=1e-6)


@every
def test_a_step_saves_no_loss_to_a_file(loss, batch, monkeypatch):
    """As Keras does for `copy.copy`, with a temporary folder."""
    made = loss()
    expected = float(made(*batch))
    monkeypatch.setattr(loss, "__reduce__", lambda self: pytest.fail("the loss was saved"))
    assert float(made(*batch)) == expected
    assert made.reduction is not None


@pytest.mark.parametrize("loss", PER_IMAGE)
def test_an_image_has_the_same_value_in_any_batch(loss, batch):
    each = array(loss(reduction=None)(*batch))
    found = array(loss(reduction=None)(*(x[[2, 0]] for x in batch)))
    np.testing.assert_allclose(found, each[[2, 0]], rtol=1e-6)


@pytest.mark.parametrize("loss", PER_IMAGE)
def test_a_weight_per_image_is_a_factor(loss, batch):
    each = array(loss(reduction=None)(*batch))
    weights = np.array([0.0, 2.0, 1.0, 0.5], "float32")
    for given in (weights, weights[:, None]):
        value = float(loss()(*batch, sample_weight=given))
        assert value == pytest.approx((each * weights).mean(), rel=1e-5)


@pytest.mark.parametrize("loss", WHOLE_BATCH)
@pytest.mark.parametrize("shape", [(4,), SHAPE])
def test_a_loss_of_the_whole_batch_takes_no_weights(loss, shape, batch):
    with pytest.raises(InputError, match=f"{loss.__name__} .* has one value for the whole batch"):
        loss()(*batch, sample_weight=np.ones(shape, "float32"))


@pytest.mark.parametrize("loss", PER_IMAGE)
def test_weights_per_pixel_count_or_are_refused(loss, batch):
    ones = np.ones(SHAPE, "float32")
    if loss in PER_PIXEL:
        expected = float(loss()(*batch))
        assert float(loss()(*batch, sample_weight=ones)) == pytest.approx(expected, rel=1e-5)
    else:
        with pytest.raises(InputError, match=f"{loss.__name__} received a sample_weight of shape"):
            loss()(*batch, sample_weight=ones)


@every
@pytest.mark.parametrize("shape", [(4, 3, 5), (4, 3, 5, 2), (1, 3, 5, 1), (3, 5)])
def test_another_shape_is_refused(loss, shape):
    """Broadcast, it would train on something else."""
    with pytest.raises(InputError, match=f"{loss.__name__}|Loss") as error:
        loss()(np.zeros(shape, "float32"), np.zeros(SHAPE, "float32"))
    assert f"y_true of shape {shape}" in str(error.value)


@every
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(loss, dtype, batch):
    y_true, logits = (keras.ops.cast(x, dtype) for x in (batch[0], batch[1] * 20))
    value = loss().call(y_true, logits)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    expected = loss().call(*(keras.ops.cast(x, "float32") for x in (y_true, logits)))
    np.testing.assert_array_equal(array(value), array(expected))


@every
@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float64"])
def test_truth_of_any_dtype(loss, dtype, batch):
    y_true, logits = batch
    expected = float(loss()(y_true, logits))
    assert float(loss()(y_true.astype(dtype), logits)) == pytest.approx(expected, rel=1e-6)


@every
def test_gradients_are_finite_and_nothing_costs_nothing(loss, batch, extreme, input_gradient):
    gradient = input_gradient(lambda x: loss()(batch[0], x), batch[1])
    # A single channel has no direction to learn, only a sign.
    assert np.isfinite(gradient).all() and (gradient.any() or loss is losses.CosineEmbeddingLoss)
    for y_true, logits in (extreme, (batch[0], np.zeros(SHAPE, "float32"))):
        assert np.isfinite(input_gradient(lambda x, y=y_true: loss()(y, x), logits)).all()
    y_true = batch[0][:2]  # What is right beyond doubt: as features, and as logits.
    right = (2 * y_true - 1) * 50 if issubclass(loss, PixelLoss | BatchLoss) else y_true
    if loss is losses.CosineEmbeddingLoss:
        y_true = right = y_true + 1  # Features of zero have no direction.
    assert float(loss()(y_true, right)) == pytest.approx(0, abs=1e-6)


@every
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", None])
def test_it_asks_nothing_of_the_host(loss, reduction, batch, transfers):
    """An upload or a read makes a GPU wait."""
    y_true, logits = map(keras.ops.convert_to_tensor, batch)
    logits.requires_grad_()
    weights = {"none": None}
    if loss in PER_IMAGE:
        weights["per image"] = keras.ops.ones((4,))
    if loss in PER_PIXEL:
        weights["per pixel"] = keras.ops.ones(SHAPE)
    for kind, given in weights.items():
        options = {} if given is None else {"sample_weight": given}

        def step(options=options):
            value = loss(reduction=reduction)(y_true, logits, **options)
            (value if reduction else keras.ops.sum(value)).backward()

        assert transfers(step, before=1) == {}, kind


@every
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean", "mean_with_sample_weight"])
def test_the_mean_is_keras_own_bit_for_bit(loss, reduction, batch):
    """Also where, on torch, it is taken without uploading the number of values."""
    ours = loss(reduction=reduction)

    class Plain(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return ours.call(y_true, y_pred)

    shapes = [None] if loss in WHOLE_BATCH else [None, (4,), (4, 1), (1,), ()]
    for shape in shapes:
        weight = None if shape is None else np.random.default_rng(0).random(shape).astype("float32")
        expected = Plain(reduction=reduction)(*batch, sample_weight=weight)
        assert array(ours(*batch, sample_weight=weight)) == array(expected), shape


@every
def test_round_trip(loss, batch):
    known = inspect.signature(loss).parameters.values()
    values = {one.name: 0.35 for one in known if isinstance(one.default, float)}
    first = loss(**values, reduction="sum", name="some_name")
    twin = keras.losses.deserialize(keras.losses.serialize(first))
    assert type(twin) is loss and twin is not first
    assert {name: getattr(twin, name) for name in values} == values
    assert (twin.reduction, twin.name) == ("sum", "some_name")
    assert float(twin(*batch)) == float(first(*batch))
    # Each argument changes something.
    for name in values:
        assert float(loss(**{name: 0.35})(*batch)) != float(loss()(*batch)) or name == "epsilon"


def test_sizes_unknown_to_a_tensorflow_graph():
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only a TensorFlow graph has unknown sizes")
    y_true, logits = np.ones((2, 4, 4, 1), "float32"), np.zeros((2, 4, 4, 1), "float32")
    expected = float(losses.DiceFocalLoss()(y_true, logits))

    def graph(shape):
        signature = [tf.TensorSpec(shape), tf.TensorSpec((2, None, None, 1))]
        return tf.function(losses.DiceFocalLoss(), input_signature=signature, autograph=False)

    assert float(graph((None, None, None, 1))(y_true, logits)) == expected
    with pytest.raises(InputError, match="y_true of unknown rank"):
        graph(None)(y_true, logits)
