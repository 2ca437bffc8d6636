"""Window attention by shifted slices: one offset of the window after the other.

For heads of few channels (one in the depthwise case), for which a matrix product has nothing to
multiply. Each of the k * k offsets is a slice of the padded map. The softmax is streamed, so that
only a handful of maps is stored whatever the window, and the gradient recomputes the weights.
"""

import itertools

import keras
from keras import ops

FORBIDDEN = -1e30


def _over_offsets(count, body, carry):
    """Apply `carry = body(i, carry)` for every offset.

    On JAX as a loop of the program: XLA fuses an unrolled loop into kernels that compute the same
    weights many times over (7 x 7 with gradients: a thousand times slower). Elsewhere unrolled: a
    loop would only cost time, and exporters could not follow it.
    """
    if keras.backend.backend() == "jax":
        return ops.fori_loop(0, count, body, carry)
    for i in range(count):
        carry = body(i, carry)
    return carry


def sliced_window_attention(
    q, k, v, kernel_size, dilation_rate, num_heads, scale, masked_border, dropout, lse
):
    """See `msa_conv2d`, which checks the arguments.

    Args:
        dropout: None, or a function from a shape to float factors, 0 or 1 / (1 - rate).
        lse: bool. Append the log of the softmax's denominator, one channel per head.

    Returns:
        `(batch, height, width, channels)`, or with `lse` `channels + num_heads`, float32.
    """
    batch, height, width = ops.shape(q)[:3]
    radius = [size // 2 * rate for size, rate in zip(kernel_size, dilation_rate, strict=True)]
    # The start of each offset's slice of the padded map.
    starts = list(
        itertools.product(
            *(range(0, 2 * r + 1, rate) for r, rate in zip(radius, dilation_rate, strict=True))
        )
    )
    channels = v.shape[-1]
    depthwise = num_heads == channels
    # One more axis if heads have several channels: (batch, height, width, heads, channels).
    heads = (num_heads,) if depthwise else (num_heads, channels // num_heads)
    inner = [(0, 0)] * len(heads)
    border = [(0, 0), (radius[0], radius[0]), (radius[1], radius[1]), *inner]
    factors = ()
    if dropout is not None:
        # The only array stored for every offset, since the gradient needs the same draw again.
        shape = (batch, height, width, num_heads, *([] if depthwise else [1]))
        factors = (dropout((len(starts), *shape)),)

    def split(x):
        if depthwise:
            return x
        # No -1: with an unknown size, TensorFlow would lose the number of channels.
        return ops.reshape(x, (batch, height, width, num_heads, x.shape[-1] // num_heads))

    def flat(x):
        if depthwise:
            return x
        return ops.reshape(x, (batch, height, width, num_heads * x.shape[4]))

    def per_head(x):
        """Sum the channels of each head."""
        return x if depthwise else ops.sum(x, axis=-1, keepdims=True)

    def start_of(i):
        if isinstance(i, int):
            return starts[i]
        place = ops.take(ops.convert_to_tensor(starts, "int32"), i, axis=0)
        return place[0], place[1]

    def sliced(padded, y, x):
        if isinstance(y, int):
            return padded[:, y : y + height, x : x + width]
        begin = (0, y, x, *[0] * len(heads))
        return ops.slice(padded, begin, (padded.shape[0], height, width, *padded.shape[3:]))

    def shifted(padded, i):
        return sliced(padded, *start_of(i))

    def shifted_back(x, i):
        """Move what a query gives to its key to the key's position; drop what falls outside."""
        down, right = start_of(i)
        return sliced(ops.pad(x, border), 2 * radius[0] - down, 2 * radius[1] - right)

    @ops.custom_gradient
    def attend(q, k, v, *factors):
        # All in float32, as in the release: these are sums of elementwise products.
        dtype = q.dtype
        q, k, v = (split(ops.cast(x, "float32")) for x in (q, k, v))
        q = q * scale
        k_padded, v_padded = ops.pad(k, border), ops.pad(v, border)
        invalid = None
        if masked_border:
            ones = ops.ones_like(per_head(q[:1]))
            invalid = (1 - ops.pad(ones, border)) * FORBIDDEN

        def logit(i):
            value = per_head(q * shifted(k_padded, i))
            return value if invalid is None else value + shifted(invalid, i)

        def find_highest(i, highest):
            return ops.maximum(highest, logit(i))

        def add_weighted(i, carry):
            total, out = carry
            weight = ops.exp(logit(i) - highest)
            total = total + weight
            if factors:
                weight = weight * factors[0][i]
            return total, out + weight * shifted(v_padded, i)

        zeros, count = ops.zeros_like(per_head(q)), len(starts)
        highest = _over_offsets(count, find_highest, zeros + 2 * FORBIDDEN)
        total, out = _over_offsets(count, add_weighted, (zeros, ops.zeros_like(q)))
        out = out / total
        log_total = highest + ops.log(total)

        def gradient(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            to_log = split(upstream[..., channels:]) if lse else 0.0
            upstream = split(upstream[..., :channels])
            mean = per_head(out * upstream) - to_log

            def add_gradients(i, carry):
                to_q, to_k, to_v = carry
                weight = ops.exp(logit(i) - log_total)
                to_weight = per_head(upstream * shifted(v_padded, i))
                kept = weight
                if factors:
                    to_weight, kept = to_weight * factors[0][i], weight * factors[0][i]
                to_logit = weight * (to_weight - mean)
                return (
                    to_q + to_logit * shifted(k_padded, i),
                    to_k + shifted_back(to_logit * q, i),
                    to_v + shifted_back(kept * upstream, i),
                )

            nothing = ops.zeros_like(q)
            to_q, to_k, to_v = _over_offsets(count, add_gradients, (nothing, nothing, nothing))
            gradients = (ops.cast(flat(x), dtype) for x in (to_q * scale, to_k, to_v))
            return (*gradients, *(ops.zeros_like(x) for x in factors))

        if lse:
            return ops.concatenate([flat(out), flat(log_total)], axis=-1), gradient
        # Not the tensor object that the gradient keeps: on torch each would hold the other, and
        # both their memory, until the garbage collector runs.
        return ops.reshape(out, (batch, height, width, channels)), gradient

    # All as arguments: a function with a custom gradient cannot close over JAX tracers.
    return attend(q, k, v, *factors)
