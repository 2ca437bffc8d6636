"""A loss of several targets against the loss of each, one by one."""

import keras
import numpy as np
import pytest

from keras_espmedsam import losses
from keras_espmedsam.data import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.losses import DiceCELoss, DiceFocalLoss, DiceLoss, FocalLoss, PerTargetLoss
from keras_espmedsam.losses.per_target_loss import of_modalities
from keras_espmedsam.losses.pixel_loss import PixelLoss

SHAPE = (4, 3, 5, 3)


class PlainLoss(keras.losses.Loss):
    """A loss as another package writes it: one value per image, and no weights per pixel."""

    def call(self, y_true, y_pred):
        error = keras.ops.square(y_true - keras.ops.sigmoid(y_pred))
        return keras.ops.mean(error, axis=(1, 2, 3))


WRAPPED = [DiceFocalLoss(), DiceLoss(), PlainLoss(), keras.losses.BinaryCrossentropy(True)]
wrapped = pytest.mark.parametrize("loss", WRAPPED, ids=lambda loss: type(loss).__name__)


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.fixture
def several():
    """Four images of three targets: all labelled, two, one whose others do not exist, none."""
    rng = np.random.default_rng(0)
    y_true = (rng.random(SHAPE) < 0.4).astype("float32")
    logits = rng.normal(0, 3, SHAPE).astype("float32")
    y_true[1, ..., 1] = y_true[2, ..., 1:] = y_true[3] = -1
    logits[2, ..., 1:] = -np.inf
    return y_true, logits


@pytest.fixture
def one_value(several):
    """`one_value(loss, image, channels, weights)`: a loss of some channels of one image, alone."""
    y_true, logits = several

    def value(loss, image, channels, weights=None):
        at = (slice(image, image + 1), slice(None), slice(None), list(channels))
        weights = None if weights is None else weights[at]
        return float(loss(y_true[at], logits[at], sample_weight=weights))

    return value


@wrapped
def test_the_mean_over_the_labelled_targets_of_each_image(loss, several, one_value):
    values = array(PerTargetLoss(loss, reduction=None)(*several))
    expected = [
        np.mean([one_value(loss, image, [channel]) for channel in channels] or 0)
        for image, channels in enumerate([(0, 1, 2), (0, 2), (0,), ()])
    ]
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    total = float(PerTargetLoss(loss)(*several))
    assert total == pytest.approx(np.mean(expected), rel=1e-5)


@wrapped
def test_of_one_labelled_target_it_is_the_loss_itself(loss, batch):
    found = PerTargetLoss(loss)
    assert float(found(*batch)) == pytest.approx(float(loss(*batch)), rel=1e-6)
    assert found.name == loss.name
    weights = np.array([0.0, 2.0, 1.0, 0.5], "float32")
    each = array(PerTargetLoss(loss, reduction=None)(*batch))
    assert float(found(*batch, sample_weight=weights)) == pytest.approx((each * weights).mean())


GROUPS = Targets({"eye": ("a", "v", "disc")}, {"eye": [("a", "v")]}).group_numbers()


@pytest.mark.parametrize("groups", [(), GROUPS])
@wrapped
def test_the_unknown_changes_no_value_and_has_no_gradient(loss, groups, several, input_gradient):
    y_true, logits = several
    unknown = y_true < 0
    made = PerTargetLoss(loss, groups=groups)

    def value_of(x):
        return made(y_true, x)

    expected = input_gradient(value_of, logits)
    assert np.isfinite(expected).all() and not expected[unknown].any()
    assert all(expected[..., c][~unknown[..., c]].any() for c in range(3))
    value = float(made(y_true, logits))
    for other in (-np.inf, np.inf, np.nan, 1e30, 0.0):
        changed = np.where(unknown, np.float32(other), logits)
        assert float(made(y_true, changed)) == value
        np.testing.assert_array_equal(input_gradient(value_of, changed), expected)


def test_a_batch_without_labels_costs_nothing(several, input_gradient):
    y_true, logits = np.full(SHAPE, -1, "float32"), several[1]
    made = PerTargetLoss(DiceFocalLoss(), groups=GROUPS)
    assert float(made(y_true, logits)) == 0
    assert not input_gradient(lambda x: made(y_true, x), logits).any()


def test_a_channel_that_the_modality_has_not_counts_even_less_than_an_unlabelled_one(several):
    """Its logits are -inf, whatever the truth says."""
    y_true, logits = several
    expected = float(PerTargetLoss(DiceFocalLoss())(y_true, logits))
    y_true = np.where(np.isneginf(logits), 0, y_true)
    assert float(PerTargetLoss(DiceFocalLoss())(y_true, logits)) == expected


def test_a_prediction_of_nan_is_not_hidden(several):
    logits = several[1].copy()
    logits[0, 0, 0, 0] = np.nan
    assert np.isnan(float(PerTargetLoss(DiceFocalLoss())(several[0], logits)))


def test_pixels_that_are_unknown_in_a_labelled_channel(several, input_gradient):
    y_true, logits = (x[:1] for x in several)
    cropped = float(PerTargetLoss(DiceFocalLoss())(y_true[:, :2, 1:], logits[:, :2, 1:]))
    y_true = y_true.copy()
    y_true[:, 2:] = y_true[:, :, :1] = -1
    made = PerTargetLoss(DiceFocalLoss())
    assert float(made(y_true, logits)) == pytest.approx(cropped, rel=1e-5)
    gradient = input_gradient(lambda x: made(y_true, x), logits)
    assert not gradient[y_true < 0].any() and gradient[y_true >= 0].all()


@pytest.mark.parametrize("shape", [(4, 3, 5), (4, 3, 5, 1), SHAPE])
@pytest.mark.parametrize("groups", [(), GROUPS])
def test_weights_per_pixel(shape, groups, several, one_value):
    weights = np.random.default_rng(1).choice([0, 0.5, 2], shape).astype("float32")
    full = np.broadcast_to(weights if len(shape) == 4 else weights[..., None], SHAPE)
    loss, group = DiceFocalLoss(), DiceCELoss()
    values = array(PerTargetLoss(loss, groups=groups, reduction=None)(*several, weights))
    expected = [
        np.mean([one_value(loss, image, [channel], full) for channel in channels] or 0)
        for image, channels in enumerate([(0, 1, 2), (0, 2), (0,), ()])
    ]
    if groups:
        both, third = one_value(group, 0, [0, 1], full), one_value(loss, 0, [2], full)
        expected[0] = (2 * both + third) / 3
    np.testing.assert_allclose(values, expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(4,), (4, 1), ()])
def test_weights_per_image(shape, several):
    weights = np.random.default_rng(1).random(shape).astype("float32")
    made = PerTargetLoss(DiceFocalLoss(), reduction=None)
    expected = array(made(*several)) * weights.reshape(-1)
    np.testing.assert_allclose(array(made(*several, weights)).ravel(), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5, 2), (4, 5, 3), (3,)])
def test_weights_of_another_shape_are_refused(shape, several):
    with pytest.raises(InputError, match=r"or \(batch, height, width, 3\)"):
        PerTargetLoss(DiceFocalLoss())(*several, sample_weight=np.ones(shape, "float32"))


def test_weights_per_pixel_of_a_loss_that_takes_none_are_refused(several):
    weights = np.ones(SHAPE[:3], "float32")
    with pytest.raises(InputError, match="PlainLoss has one value per image and takes no weights"):
        PerTargetLoss(PlainLoss())(*several, sample_weight=weights)
    expected = float(PerTargetLoss(WRAPPED[3])(*several))
    found = float(PerTargetLoss(WRAPPED[3])(*several, sample_weight=2 * weights))
    assert found == pytest.approx(2 * expected, rel=1e-5)  # It has a value per pixel.


TARGETS = Targets(
    {"xray": ("lungs",), "eye": ("a", "v", "disc"), "ct": ("left", "body", "right")},
    {"eye": [("a", "v")], "ct": [("left", "right")]},
)


def test_a_group_where_all_of_it_is_labelled(several, one_value):
    loss = FocalLoss()
    made = PerTargetLoss(loss, groups=TARGETS.group_numbers(), reduction=None)

    def one(image, *channels):
        whole = DiceCELoss() if len(channels) > 1 else loss
        return one_value(whole, image, channels)

    # Image 1 lacks the middle channel's labels, image 2 the last two.
    for modalities, expected in (
        ((1, 2, 0), [(2 * one(0, 0, 1) + one(0, 2)) / 3, one(1, 0, 2), one(2, 0)]),
        ((2, 1, 1), [(2 * one(0, 0, 2) + one(0, 1)) / 3, (one(1, 0) + one(1, 2)) / 2, one(2, 0)]),
    ):
        given = keras.ops.convert_to_tensor(np.array((*modalities, 0), "int32"))
        with of_modalities(given):
            found = array(made(*several))
        np.testing.assert_allclose(found, [*expected, 0], rtol=1e-5)


def test_a_group_of_other_losses_and_its_gradient(several, input_gradient):
    logits = several[1][:1]
    y_true = several[0][:1].copy()
    y_true[..., 1] *= 1 - y_true[..., 0]
    group = DiceCELoss(dice_weight=0.2)
    made = PerTargetLoss(DiceLoss(), exclusive=group, groups=GROUPS)
    found = input_gradient(lambda x: made(y_true, x), logits)
    both = input_gradient(lambda x: group(y_true[..., :2], x), logits[..., :2])
    last = input_gradient(lambda x: DiceLoss()(y_true[..., 2:], x), logits[..., 2:])
    expected = np.concatenate([2 * both, last], axis=-1) / 3
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_modalities_are_needed_where_the_groups_differ(several):
    made = PerTargetLoss(DiceLoss(), groups=TARGETS.group_numbers())
    with pytest.raises(InputError, match=r"not told the modality of each image.*of_modalities"):
        made(*several)
    with pytest.raises(RuntimeError, match="an error inside"), of_modalities(np.zeros(4, "int32")):
        raise RuntimeError("an error inside")
    with pytest.raises(InputError, match="not told the modality"):
        made(*several)
    with pytest.raises(InputError, match="was told 3 modalities for 4 images; give one for each"):
        with of_modalities(np.zeros(3, "int32")):
            made(*several)
    for groups in (GROUPS, GROUPS * 2, [[0, 0, 0], [0, 0, 0]]):
        assert np.isfinite(float(PerTargetLoss(DiceLoss(), groups=groups)(*several)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"loss": losses.PublishedDiceFocalLoss()}, "PublishedDiceFocalLoss has one value for the"),
        ({"loss": losses.MeanFocalLoss()}, "MeanFocalLoss has one value for the whole batch"),
        ({"exclusive": losses.BatchDiceLoss()}, "BatchDiceLoss has one value for the whole batch"),
        ({"loss": "standard"}, "received the loss 'standard'; expected a keras.losses.Loss of one"),
        ({"loss": PerTargetLoss(DiceLoss())}, "received the loss .*; expected a keras.losses.Loss"),
        ({"groups": [[1, 1], [1]]}, "expected a row per modality"),
        ({"groups": [[1, -1]]}, "expected a row per modality"),
        ({"groups": [1, 1]}, "expected a row per modality"),
        ({"groups": 3}, "expected a row per modality"),
    ],
)
def test_what_cannot_be_wrapped_is_told_in_a_sentence(arguments, words):
    with pytest.raises(InputError, match=words) as error:
        PerTargetLoss(**{"loss": DiceLoss(), **arguments})
    assert len(str(error.value).splitlines()) == 1


def test_what_does_not_fit_is_told_in_a_sentence(several):
    with pytest.raises(InputError, match="masks of 3 channels, but groups of 2"):
        PerTargetLoss(DiceLoss(), groups=[[1, 1]])(*several)
    with pytest.raises(InputError, match=r"masks of shape \(4, 3\); expected \(batch, height"):
        PerTargetLoss(DiceLoss())(*(x[:, :, 0, 0] for x in several))
    with pytest.raises(InputError, match="PerTargetLoss received y_true of shape"):
        PerTargetLoss(DiceLoss())(several[0][..., :1], several[1])

    class OneValue(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return keras.ops.mean(y_pred)

    with pytest.raises(InputError, match=r"OneValue gives values of shape \(\) for 12 masks"):
        PerTargetLoss(OneValue())(*several)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "float64", "bool"])
def test_truth_of_any_dtype(dtype, several):
    y_true, logits = (x[:1] for x in several)
    expected = float(PerTargetLoss(DiceLoss())(y_true, logits))
    assert float(PerTargetLoss(DiceLoss())(y_true.astype(dtype), logits)) == expected


def test_round_trip(several):
    first = PerTargetLoss(
        FocalLoss(gamma=1.0), FocalLoss(gamma=0.5), GROUPS, reduction="sum", name="some_name"
    )
    twin = keras.losses.deserialize(keras.losses.serialize(first))
    assert type(twin) is PerTargetLoss and twin is not first
    assert (twin.loss.gamma, twin.exclusive.gamma, twin.groups) == (1.0, 0.5, GROUPS)
    assert (twin.reduction, twin.name) == ("sum", "some_name")
    assert float(twin(*several)) == float(first(*several))


def test_it_asks_nothing_of_the_host(several, transfers):
    """An upload or a read makes a GPU wait."""
    y_true, logits = map(keras.ops.convert_to_tensor, several)
    logits.requires_grad_()
    made = PerTargetLoss(DiceFocalLoss(), groups=TARGETS.group_numbers())
    modalities = keras.ops.convert_to_tensor(np.array([1, 2, 0, 0], "int32"))

    def step():
        with of_modalities(modalities):
            made(y_true, logits, sample_weight=None).backward()

    assert transfers(step, before=1) == {}


def test_by_name():
    found = losses.get({"name": "FocalLoss", "gamma": 1.0}, num_channels=3, groups=GROUPS)
    assert type(found["masks"]) is PerTargetLoss and found["masks"].groups == GROUPS
    assert found["masks"].loss.gamma == 1.0 and type(found["patches"]) is losses.PatchLoss
    assert losses.get(found["masks"], num_channels=3)["masks"] is found["masks"]
    loss = DiceLoss()
    assert losses.get(loss, num_channels=2)["masks"].loss is loss
    assert losses.get(loss, num_channels=1, groups=[[0]])["masks"] is loss
    with pytest.raises(InputError, match="PublishedDiceFocalLoss has one value for the whole"):
        losses.get("published", num_channels=2)


def test_sizes_unknown_to_a_tensorflow_graph(several):
    tf = pytest.importorskip("tensorflow")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only a TensorFlow graph has unknown sizes")
    made = PerTargetLoss(DiceFocalLoss(), groups=GROUPS)
    spec = tf.TensorSpec((None, None, None, 3))
    graph = tf.function(made, input_signature=[spec, spec], autograph=False)
    assert float(graph(*several)) == pytest.approx(float(made(*several)), rel=1e-6)


def test_it_is_one_of_pixels():
    assert issubclass(PerTargetLoss, PixelLoss)
