"""Tell weights per image from weights per pixel."""

from keras import ops

from keras_espmedsam.errors import InputError
from keras_espmedsam.ops.device_constant import device_number


def per_pixel(owner, sample_weight, y_pred):
    """Return weights as a map of the predictions' shape, or `None` for one per image.

    Args:
        owner: the loss or metric, for the error.
        sample_weight: tensor, array or number, or `None`.
        y_pred: tensor `(batch, height, width, channels)`; weights without channels are those of
            each.

    Returns:
        float32 tensor `(batch, height, width, channels)`, or `None`.

    Raises:
        InputError: for a shape that fits neither the images nor their pixels.
    """
    if sample_weight is None or is_per_image(sample_weight, y_pred):
        return None
    shape, pred = _shape(sample_weight), tuple(y_pred.shape)
    if _fits(shape, pred):
        return ops.cast(sample_weight, "float32")
    for axes in (pred[:-1], (*pred[:-1], 1)):
        if len(pred) == 4 and _fits(shape, axes):
            weights = ops.cast(sample_weight, "float32")
            weights = weights if len(shape) == 4 else ops.expand_dims(weights, -1)
            return weights if pred[-1] == 1 else ops.repeat(weights, pred[-1], axis=-1)
    of_targets = "" if pred[-1] == 1 else f" or (batch, height, width, {pred[-1]})"
    raise InputError(
        f"{type(owner).__name__} received a sample_weight of shape {shape} for predictions of "
        f"shape {pred}; expected (batch,), or one weight per pixel, (batch, height, width) or "
        f"(batch, height, width, 1){of_targets}."
    )


def is_per_image(sample_weight, y_pred):
    """Whether weights are one number, `(batch,)` or `(batch, 1)`."""
    shape, pred = _shape(sample_weight), tuple(y_pred.shape)
    if len(shape) == 2 and shape[1] == 1 and len(pred) > 2:
        shape = shape[:1]
    return shape in ((), (1,)) or _fits(shape, pred[:1])


def mean_weight(weights, axis):
    """Return the mean weight of each image's pixels of weight above 0, and their number.

    Pixels of weight 0 do not count: if most pixels are unknown, the others weigh no less. If all
    are 0, the mean is 0, and the number is given as 1 to divide by.

    Args:
        weights: tensor.
        axis: tuple of int. All axes except the first.
    """
    number = ops.sum(ops.cast(weights > 0, "float32"), axis=axis)
    number = ops.maximum(number, device_number(1, like=number))
    return ops.sum(weights, axis=axis) / number, number


def _shape(x):
    shape = getattr(x, "shape", None)
    shape = ops.convert_to_tensor(x).shape if shape is None else shape
    if getattr(shape, "rank", 0) is None:
        raise InputError(
            "Received a sample_weight of unknown rank; give its source an output_signature with "
            "all axes."
        )
    return tuple(shape)


def _fits(shape, expected):
    return len(shape) == len(expected) and all(
        a is None or b is None or a == b for a, b in zip(shape, expected, strict=True)
    )
