"""What several losses are made of, in float32 under any dtype."""

from keras import ops

from keras_espmedsam.errors import InputError
from keras_espmedsam.losses.weights import mean_weight


def as_float32(loss, y_true, y_pred):
    """Truth and prediction as float32, after a look at their shapes.

    Args:
        loss: `keras.losses.Loss`, for the error.
        y_true, y_pred: tensors of one shape; sizes that a TensorFlow graph does not know pass.

    Raises:
        InputError: where one would be broadcast to the other.

    Source: ours.
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
    """As `as_float32`, and the weights per pixel, `None` without; see `PixelLoss`.

    Source: ours.
    """
    y_true, weights = y_true if isinstance(y_true, tuple) else (y_true, None)
    return (*as_float32(loss, y_true, y_pred), weights)


def _fits(true_shape, pred_shape):
    return len(true_shape) == len(pred_shape) and all(
        a is None or b is None or a == b for a, b in zip(true_shape, pred_shape, strict=True)
    )


def each_image(x):
    """All axes but the first: what is summed or averaged for a value per image."""
    return tuple(range(1, len(x.shape)))


def mean_per_image(values, weights=None):
    """Each image's mean of a value per pixel; with weights, of the weighted values that count.

    Source: ours.
    """
    axis = each_image(values)
    if weights is None:
        return ops.mean(values, axis=axis)
    return ops.sum(weights * values, axis=axis) / mean_weight(weights, axis)[1]


def cross_entropy(y_true, logits):
    """The binary cross-entropy of each logit, finite for any of them."""
    return ops.softplus(logits) - y_true * logits
