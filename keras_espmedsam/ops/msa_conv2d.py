"""MSA-Conv's operator: self-attention in the sliding window of a convolution."""

import keras
from keras import ops

from keras_espmedsam.ops.dilation import from_phases, to_phases
from keras_espmedsam.ops.sliced_attention import sliced_window_attention
from keras_espmedsam.ops.tiled_attention import tiled_window_attention

BORDERS = ("zero", "mask")
ALGORITHMS = ("auto", "slices", "tiles")


def msa_conv2d(
    q,
    k,
    v,
    kernel_size,
    dilation_rate=1,
    num_heads=1,
    scale=None,
    border="zero",
    dropout_rate=0.0,
    seed=None,
    return_log_total=False,
    algorithm="auto",
):
    """Attend from every pixel to the window around it, like a convolution of stride 1.

    `logit[w, p] = scale * q[p] . k[p + d w]`, softmax over the window's offsets `w`,
    `out[p] = sum_w weight[w, p] v[p + d w]`, per head. The `kernel_height * kernel_width` copies
    of the map are never stored, not even for the gradient; the cost is linear in the pixels.

    Args:
        q, k, v: tensors `(batch, height, width, channels)` of one shape and dtype; height and
            width may be smaller than the window.
        kernel_size: int or (int, int), odd. The window's height and width.
        dilation_rate: int or (int, int). Steps between the window's keys.
        num_heads: int. Groups of channels with a softmax each; the number of channels for
            depthwise.
        scale: float or None. `None` is `(channels / num_heads) ** -0.5`.
        border: str. `"zero"`: outside the image keys and values are 0 and keep their share of the
            softmax, as published. `"mask"`: the window ends at the border.
        dropout_rate: float. Fraction of the weights dropped after the softmax. Above 0, a number
            per weight is stored, which the gradient needs again.
        seed: int or `keras.random.SeedGenerator`, for the dropout.
        return_log_total: bool. Also return the logarithm of the softmax's denominator, with which
            attentions to several sets of keys are merged; see `merge_attentions`.
        algorithm: `"tiles"` (matrix products over tiles of queries), `"slices"` (one offset
            after the other) or `"auto"`: the faster one as measured, see `choose_algorithm`.

    Returns:
        `(batch, height, width, channels)` in the dtype of `v`; with `return_log_total` also
        `(batch, height, width, num_heads)` float32. The softmax is float32 under any dtype.

    Raises:
        ValueError: for an even kernel, heads that do not divide the channels, unequal shapes, or
            an unknown border or algorithm.

    Example:
        >>> q, k, v = np.random.normal(size=(3, 1, 13, 17, 8)).astype("float32")
        >>> tuple(msa_conv2d(q, k, v, kernel_size=(5, 3), num_heads=2).shape)
        (1, 13, 17, 8)
        >>> zeros, ones = np.zeros((1, 4, 4, 1), "float32"), np.ones((1, 4, 4, 1), "float32")
        >>> out = keras.ops.convert_to_numpy(msa_conv2d(zeros, zeros, ones, 3))
        >>> [round(float(out[0, y, x, 0]), 3) for y, x in ((0, 0), (0, 1), (1, 1))]
        [0.444, 0.667, 1.0]

    Source: TiC (arXiv 2310.04134), MSA-Conv. Departs from the paper: heads, depthwise and `"mask"`.
    """
    q, k, v = (keras.ops.convert_to_tensor(x) for x in (q, k, v))
    kernel_size = check_pair("kernel_size", kernel_size, odd=True)
    dilation_rate = check_pair("dilation_rate", dilation_rate)
    _check_tensors(q, k, v)
    channels = v.shape[-1]
    check_heads(num_heads, channels)
    check_choice("border", border, BORDERS)
    check_choice("algorithm", algorithm, ALGORITHMS)
    if scale is None:
        scale = (channels // num_heads) ** -0.5
    dropout = None
    if dropout_rate:
        dropout = _dropout(dropout_rate, seed)
    if algorithm == "auto":
        algorithm = choose_algorithm(kernel_size, channels // num_heads, keras.backend.backend())
    options = (num_heads, scale, border == "mask", dropout, return_log_total)
    if algorithm == "slices":
        out = sliced_window_attention(q, k, v, kernel_size, dilation_rate, *options)
    elif dilation_rate == (1, 1):
        out = tiled_window_attention(q, k, v, kernel_size, *options)
    else:
        # Pixels that see each other lie a dilation apart: separate images without dilation.
        size = ops.shape(q)[1:3]
        phases = [to_phases(x, dilation_rate) for x in (q, k, v)]
        out = tiled_window_attention(*phases, kernel_size, *options)
        out = from_phases(out, dilation_rate, size)
    if not return_log_total:
        return ops.cast(out, v.dtype)
    return ops.cast(out[..., :channels], v.dtype), out[..., channels:]


def merge_attentions(parts):
    """Merge attentions to several sets of keys as if one softmax went over all of them.

    Args:
        parts: list of pairs from `msa_conv2d(..., return_log_total=True)`: output
            `(..., channels)` and log of the denominator `(..., num_heads)`.

    Returns:
        `(..., channels)`, in the dtype of the first output.

    Example:
        >>> out, log_total = np.ones((1, 2, 2, 8)), np.zeros((1, 2, 2, 2))
        >>> merged = merge_attentions([(out, log_total), (3 * out, log_total)])
        >>> round(float(keras.ops.max(merged)), 3)
        2.0

    Source: FlashAttention (arXiv 2205.14135), the streamed softmax.
    """
    if len(parts) == 1:
        return parts[0][0]
    outputs = [ops.convert_to_tensor(out) for out, _ in parts]
    logs = [ops.cast(log, "float32") for _, log in parts]
    shares = ops.softmax(ops.stack(logs, axis=-1), axis=-1)
    heads = logs[0].shape[-1]
    merged = 0.0
    for i, out in enumerate(outputs):
        channels = out.shape[-1]
        share = ops.repeat(shares[..., i], channels // heads, axis=-1)
        merged = merged + ops.cast(share, out.dtype) * out
    return merged


def choose_algorithm(kernel_size, head_dim, backend):
    """Return the faster of `"slices"` and `"tiles"`, as measured by benchmarks/msa_conv.py.

    Args:
        kernel_size: (int, int).
        head_dim: int. Channels per head.
        backend: str. Keras' backend.
    """
    if head_dim == 1:
        return "slices"
    if backend == "jax":
        return "tiles"
    # The larger the window, the more a tile's matrix product saves; the fewer the channels of a
    # head, the less it has to multiply.
    area = kernel_size[0] * kernel_size[1]
    if area <= 9:
        return "slices"
    if backend == "tensorflow":  # Tracing that many slices is not worth it.
        return "tiles"
    return "slices" if head_dim <= (16 if area <= 25 else 4) else "tiles"


def check_pair(name, value, odd=False):
    """Return `value` as two ints of at least 1.

    Raises:
        ValueError: for anything else, or an even one if `odd`.
    """
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    good = len(pair) == 2 and all(isinstance(n, int) and n >= 1 for n in pair)
    if not good or (odd and any(n % 2 == 0 for n in pair)):
        kind = "odd integers" if odd else "integers of at least 1"
        why = ", so that the window has a centre" if odd else ""
        raise ValueError(f"Received {name}={value}; expected one or two {kind}{why}.")
    return pair


def check_heads(num_heads, channels):
    """Raise for heads that do not divide the channels.

    Raises:
        ValueError: with numbers of heads that would fit.
    """
    if not isinstance(num_heads, int) or num_heads < 1 or channels % num_heads:
        fitting = [n for n in range(1, channels + 1) if channels % n == 0]
        raise ValueError(
            f"Received num_heads={num_heads} for {channels} channels; the heads must divide the "
            f"channels: {', '.join(map(str, fitting))}."
        )


def check_choice(name, value, choices):
    """Raise for a value that is not among the choices.

    Raises:
        ValueError: with the choices.
    """
    if value not in choices:
        raise ValueError(f"Received {name}={value!r}; expected one of {', '.join(choices)}.")


def _check_tensors(q, k, v):
    shapes = [tuple(x.shape) for x in (q, k, v)]
    dtypes = [keras.backend.standardize_dtype(x.dtype) for x in (q, k, v)]
    if len(shapes[0]) != 4 or len(set(shapes)) != 1 or len(set(dtypes)) != 1:
        raise ValueError(
            f"Received q, k, v of shapes {shapes} and dtypes {dtypes}; expected three of one shape "
            "(batch, height, width, channels) and one dtype."
        )
    if "float" not in dtypes[0]:
        raise ValueError(f"Received q, k, v of dtype {dtypes[0]}; expected floats.")


def _dropout(rate, seed):
    def factors(shape):
        kept = keras.random.uniform(shape, seed=seed) >= rate
        return ops.cast(kept, "float32") / (1 - rate)

    return factors
