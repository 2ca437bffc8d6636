"""Padding a feature map to whole tiles, also where its size is unknown until it runs."""

from keras import ops


def pad_to_multiple(x, multiple, axis):
    """Append zeros along one axis until its size is a multiple, also of an unknown size.

    Args:
        x: tensor.
        multiple: int.
        axis: int. Not negative.

    Source: ours.
    """
    size = ops.shape(x)[axis]
    widths = [(0, 0)] * len(x.shape)
    if isinstance(size, int):
        pad = -size % multiple
        if not pad:
            return x
        widths[axis] = (0, pad)
        return ops.pad(x, widths)
    # A traced size: pad by the most that can be needed, then cut.
    widths[axis] = (0, multiple - 1)
    padded = (size + multiple - 1) // multiple * multiple
    index = [slice(None)] * len(x.shape)
    index[axis] = slice(0, padded)
    return ops.pad(x, widths)[tuple(index)]
