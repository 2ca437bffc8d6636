"""Cutting and padding one axis of a feature map, also where its size is unknown until it runs."""

from keras import ops


def ceil_divide(size, by):
    """`size / by`, rounded up, also of a traced size.

    Not `-(-size // by)`: ONNX divides a negative whole number towards 0.

    Args:
        size: int or traced int, not negative.
        by: int.

    Example:
        >>> ceil_divide(9, 4)
        3

    Source: ours.
    """
    return (size + by - 1) // by


def slice_axis(x, axis, start, stop):
    """`x[..., start:stop, ...]` along one axis, not negative."""
    index = [slice(None)] * len(x.shape)
    index[axis] = slice(start, stop)
    return x[tuple(index)]


def pad_axis(x, axis, before, after):
    """Zeros before and after along one axis, not negative."""
    widths = [(0, 0)] * len(x.shape)
    widths[axis] = (before, after)
    return ops.pad(x, widths)


def pad_to_multiple(x, multiple, axis):
    """Append zeros along one axis until its size is a multiple, also of an unknown size.

    Args:
        x: tensor.
        multiple: int.
        axis: int. Not negative.

    Source: ours.
    """
    size = ops.shape(x)[axis]
    if isinstance(size, int):
        pad = -size % multiple
        return pad_axis(x, axis, 0, pad) if pad else x
    # A traced size: pad by the most that can be needed, then cut.
    padded = ceil_divide(size, multiple) * multiple
    return slice_axis(pad_axis(x, axis, 0, multiple - 1), axis, 0, padded)
