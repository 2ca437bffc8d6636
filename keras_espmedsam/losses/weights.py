"""Which weights a loss or metric was given: one per image, or one per pixel."""

from keras import ops

from keras_espmedsam.errors import InputError
from keras_espmedsam.ops.device_constant import device_number


def per_pixel(owner, sample_weight, y_pred):
    """The weights as a map of the predictions' shape, or `None` where there is one per image.

    Args:
        owner: the loss or metric, for the error.
        sample_weight: tensor, array or number, or `None`.
        y_pred: tensor `(batch, height, width, 1)`.

    Returns:
        float32 tensor `(batch, height, width, 1)`, or `None`.

    Raises:
        InputError: for a shape that fits neither the images nor their pixels.

    Source: ours.
    """
    if sample_weight is None or is_per_image(sample_weight, y_pred):
        return None
    shape, pred = _shape(sample_weight), tuple(y_pred.shape)
    if _fits(shape, pred):
        return ops.cast(sample_weight, "float32")
    if pred[-1] == 1 and _fits(shape, pred[:-1]):
        return ops.expand_dims(ops.cast(sample_weight, "float32"), -1)
    raise InputError(
        f"{type(owner).__name__} received a sample_weight of shape {shape} for predictions of "
        f"shape {pred}; expected (batch,), or one weight per pixel, (batch, height, width) or "
        "(batch, height, width, 1)."
    )


def is_per_image(sample_weight, y_pred):
    """Whether weights are one number, `(batch,)` or `(batch, 1)`.

    Source: ours.
    """
    shape, pred = _shape(sample_weight), tuple(y_pred.shape)
    if len(shape) == 2 and shape[1] == 1 and len(pred) > 2:
        shape = shape[:1]
    return shape in ((), (1,)) or _fits(shape, pred[:1])


def mean_weight(weights, axis):
    """The mean weight of each image's pixels whose weight is above 0, and their number.

    Pixels of weight 0 do not count: where nothing is known of most pixels, the others weigh no
    less. Where there is no other, both are 0, and the number is given as 1 to divide by.

    Args:
        weights: tensor.
        axis: tuple of int. All axes but the images'.

    Source: ours.
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
