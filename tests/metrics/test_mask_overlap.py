import keras
import numpy as np
import pytest
from scipy.special import expit

from keras_espmedsam.errors import InputError
from keras_espmedsam.metrics import DiceScore, ForegroundIoU


def _scores(y_true, logits, threshold=0.5):
    """Dice and IoU per image, by counting pixels."""
    dice, iou = [], []
    for truth, predicted in zip(y_true >= 0.5, expit(logits) >= threshold, strict=True):
        both, either = (truth & predicted).sum(), (truth | predicted).sum()
        dice.append(2 * both / (truth.sum() + predicted.sum()) if either else 1.0)
        iou.append(both / either if either else 1.0)
    return {DiceScore: np.array(dice), ForegroundIoU: np.array(iou)}


@pytest.fixture
def batch():
    """Five images: two ordinary, both empty, only the truth empty, only the prediction empty."""
    rng = np.random.default_rng(4)
    y_true = (rng.random((5, 3, 5, 1)) < 0.5).astype("float32")
    logits = rng.normal(0, 3, (5, 3, 5, 1)).astype("float32")
    y_true[2:4] = 0
    logits[2] = logits[4] = -3
    return y_true, logits


both = pytest.mark.parametrize("metric_class", [DiceScore, ForegroundIoU])


@both
@pytest.mark.parametrize("threshold", [0.5, 0.9])
def test_mean_over_the_images_of_all_batches(metric_class, threshold, batch):
    metric = metric_class(threshold)
    metric.update_state(*batch)
    metric.update_state(batch[0][:2], batch[1][:2])
    each = _scores(*batch, threshold)[metric_class]
    expected = np.concatenate([each, each[:2]]).mean()
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


@both
@pytest.mark.parametrize("shape", [None, (5,), (5, 3, 5)])
def test_it_asks_nothing_of_the_host(metric_class, shape, batch, transfers):
    """An upload or a read makes a GPU wait."""
    metric = metric_class()
    y_true, logits = map(keras.ops.convert_to_tensor, batch)
    weight = None if shape is None else keras.ops.ones(shape)

    def step():
        metric.update_state(y_true, logits, sample_weight=weight)
        metric.result()

    assert transfers(step, before=1) == {}


@both
def test_empty_masks(metric_class):
    empty = np.zeros((1, 3, 5, 1), "float32")
    metric = metric_class()
    metric.update_state(empty, empty - 1)
    assert float(metric.result()) == 1.0
    metric.reset_state()
    metric.update_state(empty, empty + 1)
    assert float(metric.result()) == 0.0
    metric.reset_state()
    metric.update_state(empty + 1, empty - 1)
    assert float(metric.result()) == 0.0


@both
@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_sample_weight(metric_class, shape, batch):
    weights = np.array([0.5, 2.0, 1.0, 0.0, 3.0], "float32")
    metric = metric_class()
    metric.update_state(*batch, sample_weight=weights.reshape(shape))
    each = _scores(*batch)[metric_class]
    expected = (each * weights).sum() / weights.sum()
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


@both
def test_one_sample_weight_for_all(metric_class, batch):
    metric = metric_class()
    metric.update_state(*batch, sample_weight=0.5)
    expected = _scores(*batch)[metric_class].mean()
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


@both
def test_reset(metric_class, batch):
    metric = metric_class()
    metric.update_state(*batch)
    metric.reset_state()
    assert np.isnan(float(metric.result()))
    metric.update_state(batch[0][:1], batch[1][:1])
    expected = _scores(*batch)[metric_class][0]
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


@both
@pytest.mark.parametrize("labelled", [False, True])
def test_without_a_mask_to_measure_there_is_no_number(metric_class, labelled, batch):
    """Zero would say that everything was missed."""
    y_true, logits = batch
    metric = metric_class()
    if labelled:
        metric.update_state(y_true, logits, sample_weight=np.zeros(5, "float32"))
    else:
        metric.update_state(np.full_like(y_true, -1), logits)
    assert np.isnan(float(metric.result()))
    metric.update_state(y_true[:1], logits[:1])
    expected = _scores(y_true[:1], logits[:1])[metric_class][0]
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


@both
def test_threshold_is_foreground(metric_class):
    y_true = np.array([1, 0], "float32").reshape(1, 1, 2, 1)
    metric = metric_class()
    # A probability of exactly one half.
    metric.update_state(y_true, np.array([0, -1], "float32").reshape(1, 1, 2, 1))
    assert float(metric.result()) == 1.0


@both
def test_integer_truth(metric_class, batch):
    y_true, logits = batch
    metric = metric_class()
    metric.update_state(y_true.astype("uint8"), logits)
    expected = _scores(y_true, logits)[metric_class].mean()
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


@both
def test_round_trip(metric_class):
    metric = metric_class(threshold=0.3, name="some_name")
    twin = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert type(twin) is metric_class
    assert (twin.threshold, twin.name, twin.target) == (0.3, "some_name", None)
    twin = metric_class.from_config(metric_class(target=2).get_config())
    assert (twin.target, twin.name) == (2, f"{metric_class().name}_2")


@both
def test_pixels_of_weight_0_are_left_out(metric_class, batch):
    y_true, logits = batch
    weights = np.zeros_like(y_true)
    weights[:, :2, 1:4] = 2
    expected = _scores(y_true[:, :2, 1:4], logits[:, :2, 1:4])[metric_class].mean()
    for shape in ((5, 3, 5, 1), (5, 3, 5)):
        metric = metric_class()
        metric.update_state(y_true, logits, sample_weight=weights.reshape(shape))
        assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


@both
def test_a_constant_map_is_the_weight_of_the_image(metric_class, batch):
    images = np.array([0.5, 2.0, 1.0, 0.0, 3.0], "float32")
    results = []
    for weights in (images, np.broadcast_to(images[:, None, None, None], (5, 3, 5, 1))):
        metric = metric_class()
        metric.update_state(*batch, sample_weight=weights)
        results.append(float(metric.result()))
    assert results[1] == pytest.approx(results[0], abs=1e-6)


@both
def test_weights_of_pixels_weigh_them(metric_class):
    y_true = np.array([1, 1, 0, 0], "float32").reshape(1, 1, 4, 1)
    logits = np.array([1, -1, 1, -1], "float32").reshape(1, 1, 4, 1)
    metric = metric_class()
    metric.update_state(y_true, logits, np.array([2, 1, 0.5, 9], "float32").reshape(1, 1, 4))
    # Found 2, of a truth of 3 and a prediction of 2.5.
    expected = {DiceScore: 2 * 2 / 5.5, ForegroundIoU: 2 / 3.5}[metric_class]
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


@both
@pytest.mark.parametrize("shape", [(5, 7), (7,), (5, 1, 3, 5), (5, 5, 3, 1)])
def test_weights_of_another_shape_are_refused(metric_class, shape, batch):
    with pytest.raises(InputError, match="sample_weight of shape"):
        metric_class().update_state(*batch, sample_weight=np.ones(shape, "float32"))


def _of_version_0_1_0(metric_class, y_true, y_pred, pixels=None, images=None):
    """Total and count as version 0.1.0 computed them, operation by operation."""
    ops = keras.ops
    pixels = None if pixels is None else ops.cast(pixels, "float32")
    y_true = ops.cast(ops.cast(y_true, "float32") >= 0.5, "float32")
    y_pred = ops.cast(ops.sigmoid(ops.cast(y_pred, "float32")) >= 0.5, "float32")
    axes = (1, 2, 3)
    weigh = (lambda x: x) if pixels is None else (lambda x: pixels * x)
    overlap = ops.sum(weigh(y_true) * y_pred, axis=axes)
    total = ops.sum(weigh(y_true), axis=axes) + ops.sum(weigh(y_pred), axis=axes)
    value = metric_class().measure(overlap, ops.where(total > 0, total, 1.0))
    value = ops.where(total > 0, value, 1.0)
    weight = ops.ones_like(value)
    if pixels is not None:
        number = ops.sum(ops.cast(pixels > 0, "float32"), axis=axes)
        weight = ops.sum(pixels, axis=axes) / ops.maximum(number, 1.0)
    elif images is not None:
        weight = ops.broadcast_to(ops.cast(images, "float32"), ops.shape(value))
    return [float(ops.sum(x)) for x in (value * weight, weight)]


@both
@pytest.mark.parametrize("kind", [None, "pixels", "images"])
def test_one_channel_is_as_before_bit_for_bit(metric_class, kind, batch):
    shape = {"pixels": (5, 3, 5, 1), "images": (5,), None: ()}[kind]
    weights = np.random.default_rng(6).random(shape).astype("float32")
    given = {} if kind is None else {kind: weights}
    metric = metric_class()
    metric.update_state(*batch, sample_weight=weights if kind else None)
    assert [float(metric.total), float(metric.count)] == _of_version_0_1_0(
        metric_class, *batch, **given
    )


@pytest.fixture
def several(batch):
    """Three targets: unlabelled in some images, and -inf where the modality has no such target."""
    y_true, logits = (np.concatenate([x, x[::-1], np.roll(x, 2, 0)], -1) for x in batch)
    y_true[0, ..., 1] = y_true[1, ..., 1:] = y_true[4] = -1
    logits[1, ..., 1:] = -np.inf
    labelled = np.array([[1, 0, 1], [1, 0, 0], [1, 1, 1], [1, 1, 1], [0, 0, 0]], bool)
    return y_true, logits, labelled


def _each_target(several, metric_class):
    y_true, logits, _ = several
    each = [_scores(y_true[..., c], logits[..., c])[metric_class] for c in range(3)]
    return np.stack(each, axis=-1)


@both
def test_of_several_targets_the_mean_over_labelled_masks(metric_class, several):
    y_true, logits, labelled = several
    each = _each_target(several, metric_class)
    metric = metric_class()
    metric.update_state(y_true, logits)
    assert float(metric.result()) == pytest.approx(each[labelled].mean(), abs=1e-6)
    for target in range(3):
        metric = metric_class(target=target)
        metric.update_state(y_true, logits)
        expected = each[labelled[:, target], target].mean()
        assert float(metric.result()) == pytest.approx(expected, abs=1e-6)
    # What is unknown changes nothing, nor does the truth of what does not exist.
    logits = np.where(y_true < 0, -logits, logits)
    y_true[1, ..., 1:] = 0
    logits[1, ..., 1:] = -np.inf
    logits[4] = np.nan
    metric = metric_class()
    metric.update_state(y_true, logits)
    assert float(metric.result()) == pytest.approx(each[labelled].mean(), abs=1e-6)


@both
@pytest.mark.parametrize("shape", [(5,), (5, 3, 5), (5, 3, 5, 1), (5, 3, 5, 3)])
def test_weights_of_several_targets(metric_class, shape, several):
    y_true, logits, labelled = several
    images = np.array([2, 2, 0.5, 0.5, 0.5], "float32")
    weights = images.reshape(5, *[1] * (len(shape) - 1)) * np.ones(shape, "float32")
    if len(shape) > 1:
        weights[:, 2] = 0
        several = y_true[:, :2], logits[:, :2], labelled
    factors = labelled * images[:, None]
    expected = (_each_target(several, metric_class) * factors).sum() / factors.sum()
    metric = metric_class()
    metric.update_state(y_true, logits, sample_weight=weights)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)
    one = metric_class(target=2)
    one.update_state(y_true, logits, sample_weight=weights)
    expected = (_each_target(several, metric_class) * factors)[:, 2].sum() / factors[:, 2].sum()
    assert float(one.result()) == pytest.approx(expected, abs=1e-6)


@both
def test_pixels_that_are_unlabelled(metric_class, batch):
    y_true, logits = (x.copy() for x in batch)
    y_true[:, 2] = -1
    expected = _scores(y_true[:, :2], logits[:, :2])[metric_class].mean()
    metric = metric_class()
    metric.update_state(y_true, logits)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


@both
def test_masks_without_an_axis_of_channels(metric_class, batch):
    expected = _scores(*batch)[metric_class].mean()
    metric = metric_class()
    metric.update_state(*(x[..., 0] for x in batch))
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


@both
@pytest.mark.parametrize("target", [3, -1])
def test_a_target_that_the_masks_lack_is_refused(metric_class, target, several):
    with pytest.raises(InputError, match=f"of 3 channels for target={target}; .* from 0 to 2"):
        metric_class(target=target).update_state(*several[:2])


@both
def test_a_batch_without_labels_counts_nothing(metric_class, several):
    metric = metric_class()
    metric.update_state(np.full((5, 3, 5, 3), -1, "float32"), several[1])
    assert (float(metric.total), float(metric.count)) == (0.0, 0.0)
    metric.update_state(*several[:2])
    expected = _each_target(several, metric_class)[several[2]].mean()
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)
