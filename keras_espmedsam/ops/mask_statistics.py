"""What a mask's own probabilities say about it, in a few numbers for each channel."""

from keras import ops

from keras_espmedsam.ops.device_constant import device_number

# Every fourth row and column: as good on left-out data sets as every pixel, at a sixteenth of the
# cost.
STRIDE = 4
# A share of the image, so that an empty mask divides by no zero, at any size of image.
SMALLEST = 1e-4
# Logits are bounded, so that those of closed channels, -inf, give finite numbers.
BOUND = 30.0
# The mask is a steep sigmoid and not a step, where rounding could flip a pixel.
STEEPNESS = 10.0
# Probabilities within this of 0 and 1 have nearly the same logit.
_SHARE, _OF_OUTSIDE = 0.02, 1e-3


def mask_statistics(logits):
    """Compute the statistics from which the quality of a mask is predicted.

    With probabilities `p` and the mask `m` where they are 0.5 or more, as shares of the image:

    - the logit of the expected Dice, `2 sum(m p) / (sum(m) + sum(p))`, of the mask and a truth
      that follows the probabilities independently from pixel to pixel;
    - the logarithm of the mask's area;
    - the logit of the mean probability in the mask;
    - the logit of the largest probability;
    - the logarithm of the sum of the probabilities outside the mask, relative to its area.

    Args:
        logits: `(batch, height, width, channels)`.

    Returns:
        float32 `(batch, channels, 5)`, in the order of
        `keras_espmedsam.imaging.mask_statistic_names`.

    Example:
        >>> found = mask_statistics(np.array([[[[20.0], [-20.0]]]], "float32"))
        >>> tuple(found.shape)
        (1, 1, 5)
    """
    logits = ops.cast(logits[:, ::STRIDE, ::STRIDE], "float32")
    logits = ops.maximum(logits, device_number(-BOUND, like=logits))
    logits = ops.minimum(logits, device_number(BOUND, like=logits))
    probabilities = ops.sigmoid(logits)
    mask = ops.sigmoid(STEEPNESS * logits)
    area, total, inside = (
        ops.mean(values, axis=(1, 2)) for values in (mask, probabilities, mask * probabilities)
    )
    outside = ops.mean((1 - mask) * probabilities, axis=(1, 2))
    peak = ops.max(probabilities, axis=(1, 2))
    statistics = (
        _logit((2 * inside + SMALLEST) / (area + total + SMALLEST)),
        ops.log(area + SMALLEST),
        _logit((inside + SMALLEST / 2) / (area + SMALLEST)),
        _logit(peak),
        ops.log(outside / (area + SMALLEST) + _OF_OUTSIDE),
    )
    return ops.stack(statistics, axis=-1)


def _logit(shares):
    return ops.log(shares + _SHARE) - ops.log(1 + _SHARE - shares)
