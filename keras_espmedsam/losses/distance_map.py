"""Signed distance of each pixel to the outline of a mask, computed on the device."""

from keras import ops

from keras_espmedsam.ops.device_constant import device_number


def signed_distance(mask, max_distance, known=None):
    """Return how far each pixel is outside of a mask, negative inside, up to a distance.

    Outside it is the distance to the nearest pixel of the mask; inside it is one less than that to
    the nearest pixel of the background, negative: 0 for the pixels along the outline. Up to
    `max_distance` it is exact, beyond it and without any other pixel it is `max_distance` outside
    and `1 - max_distance` inside.

    It is made of elementary operations, so that a training step needs no array from the host, on
    any backend, compiled or not. Of each row and then of each column it takes the lowest of the
    parabolas that start in the pixels. `min(left, right) + 1, + 3, + 5, ...` builds a parabola step
    by step, since the odd numbers add up to squares.

    Args:
        mask: float32 tensor `(batch, height, width, 1)` in {0, 1}.
        max_distance: int, in pixels.
        known: bool tensor of the same shape, or `None`. The pixels that count; the others belong
            neither to the mask nor to the background.

    Returns:
        float32 tensor of the same shape, in pixels, without gradient.

    Source: Felzenszwalb and Huttenlocher (2012), the two passes of parabolas; Kervadec et al.
    (arXiv 1812.07032), the signs.
    """
    mask = ops.stop_gradient(mask)
    inside = mask >= 0.5
    zero, far = (device_number(value, like=mask) for value in (0.0, float(max_distance**2)))
    seeds = ops.concatenate([ops.where(inside, zero, far), ops.where(inside, far, zero)], axis=-1)
    if known is not None:
        seeds = ops.where(known, seeds, far)
    squares = _lowest_parabolas(_lowest_parabolas(seeds, 2, max_distance), 1, max_distance)
    distances = ops.sqrt(squares)
    return ops.where(inside, 1 - distances[..., 1:], distances[..., :1])


def _lowest_parabolas(heights, axis, max_distance):
    """Return `min(heights[j] + (i - j)**2)` over all `j` of an axis up to `max_distance` away."""
    size = heights.shape[axis]
    steps = max_distance if size is None else min(max_distance, size - 1)
    ends = [(0, 0)] * 4
    ends[axis] = (1, 1)
    before, after = ([slice(None)] * 4 for _ in range(2))
    before[axis], after[axis] = slice(None, -2), slice(2, None)

    def step(number, lowest):
        # Nothing comes from beyond the edges.
        padded = ops.pad(lowest, ends, constant_values=float(max_distance**2))
        nearest = ops.minimum(padded[tuple(before)], padded[tuple(after)])
        odd = 2 * number - 1
        # A number in a loop that is compiled is a tensor; on PyTorch a tensor would be uploaded.
        odd = odd if isinstance(odd, int) else ops.cast(odd, "float32")
        return ops.minimum(lowest, nearest + odd)

    return ops.fori_loop(1, steps + 1, step, heights)
