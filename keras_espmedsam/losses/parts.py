"""Building blocks of several losses, in float32 under any dtype policy."""

from keras import ops

from keras_espmedsam.errors import InputError
from keras_espmedsam.losses.weights import mean_weight
from keras_espmedsam.ops.device_constant import device_number


def as_float32(loss, y_true, y_pred):
    """Return truth and prediction as float32, after checking their shapes.

    Args:
        loss: `keras.losses.Loss`, for the error.
        y_true, y_pred: tensors of one shape; sizes that a TensorFlow graph does not know are not
            checked.

    Raises:
        InputError: if one would be broadcast to the other.
    """
    true_shape = None if getattr(y_true.shape, "rank", 0) is None else tuple(y_true.shape)
    pred_shape = tuple(y_pred.shape)
    if true_shape is None or not _fits(true_shape, pred_shape):
        received = "unknown rank" if true_shape is None else f"shape {true_shape}"
        raise InputError(
            f"{type(loss).__name__} received y_true of {received} and y_pred of shape "
            f"{pred_shape}; expected one shape, so give y_true all of y_pred's axes."
        )
    return ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")


def as_float32_and_weights(loss, y_true, y_pred):
    """Like `as_float32`, plus the weights per pixel, or `None`; see `PixelLoss`."""
    y_true, weights = y_true if isinstance(y_true, tuple) else (y_true, None)
    return (*as_float32(loss, y_true, y_pred), weights)


def only_known(y_true, logits):
    """Return truth and logits with 0 where the truth is not known, and where it is.

    Not known are a truth of -1, and a logit of -inf, which a channel has that the image's modality
    has not. They are replaced before anything is computed, since what is infinite or NaN makes a
    gradient of NaN even if its value is left out afterwards.

    Args:
        y_true, logits: float32 tensors of one shape.

    Returns:
        Tuple of truth, logits, and a float32 tensor, 1 where they are known and 0 elsewhere.
    """
    zero = device_number(0, like=logits)
    lowest = device_number(float("-inf"), like=logits)
    known = ops.logical_and(ops.greater_equal(y_true, zero), ops.not_equal(logits, lowest))
    return (
        ops.where(known, y_true, zero),
        ops.where(known, logits, zero),
        ops.cast(known, "float32"),
    )


def _fits(true_shape, pred_shape):
    return len(true_shape) == len(pred_shape) and all(
        a is None or b is None or a == b for a, b in zip(true_shape, pred_shape, strict=True)
    )


def each_image(x):
    """Return all axes except the first: those to reduce for a value per image."""
    return tuple(range(1, len(x.shape)))


def mean_per_image(values, weights=None):
    """Return each image's mean over pixels; with weights, the weighted mean of those that count."""
    axis = each_image(values)
    if weights is None:
        return ops.mean(values, axis=axis)
    return ops.sum(weights * values, axis=axis) / mean_weight(weights, axis)[1]


def cross_entropy(y_true, logits):
    """Return the binary cross-entropy of each logit, finite for any logit."""
    return ops.softplus(logits) - y_true * logits
