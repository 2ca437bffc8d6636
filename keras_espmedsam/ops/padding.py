"""Slice and pad one axis of a feature map, even if its size is unknown until it runs."""

from keras import ops


def ceil_divide(size, by):
    """Return `size / by`, rounded up, also for a traced size.

    Not `-(-size // by)`: ONNX rounds a negative quotient towards 0.

    Args:
        size: int or traced int, not negative.
        by: int.

    Example:
        >>> ceil_divide(9, 4)
        3
    """
    return (size + by - 1) // by


def slice_axis(x, axis, start, stop):
    """Return `x[..., start:stop, ...]` along one non-negative axis."""
    index = [slice(None)] * len(x.shape)
    index[axis] = slice(start, stop)
    return x[tuple(index)]


def pad_axis(x, axis, before, after):
    """Add zeros before and after along one non-negative axis."""
    widths = [(0, 0)] * len(x.shape)
    widths[axis] = (before, after)
    return ops.pad(x, widths)


def pad_to_multiple(x, multiple, axis):
    """Append zeros along one axis until its size is a multiple, even if it is unknown.

    Args:
        x: tensor.
        multiple: int.
        axis: int. Not negative.
    """
    size = ops.shape(x)[axis]
    if isinstance(size, int):
        pad = -size % multiple
        return pad_axis(x, axis, 0, pad) if pad else x
    # A traced size: pad by the most that can be needed, then cut.
    padded = ceil_divide(size, multiple) * multiple
    return slice_axis(pad_axis(x, axis, 0, multiple - 1), axis, 0, padded)
