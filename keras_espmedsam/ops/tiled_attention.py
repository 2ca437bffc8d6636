"""Window attention by halo tiles: a square of queries against all keys that any of them sees.

Neighbouring queries share most of their keys. A tile of 8 x 8 queries with 7 x 7 windows needs
14 x 14 keys: one matrix product of 64 x 196, of which a mask keeps the 49 of each query. The tiles
of a few rows are cut, attended and dropped before the next ones, and the gradient recomputes them,
so that nothing of the size of an unfolded map is ever stored.
"""

import math

import keras
import numpy as np
from keras import ops

from keras_espmedsam.ops.device_constant import device_constant, device_number
from keras_espmedsam.ops.padding import ceil_divide, pad_axis, pad_to_multiple, slice_axis

TILE_SIZE = 8
# float32 logits stored at a time. Small enough for the caches, large enough for the threads.
CHUNK_BYTES = 2**22
FORBIDDEN = -1e30
# exp(-80) is 2e-35: negligible next to a weight, and above the range where exp becomes slow.
LOWEST = -80.0


def tiled_window_attention(
    q, k, v, kernel_size, num_heads, scale, masked_border, dropout, lse, cell=1
):
    """See `msa_conv2d`, which checks the arguments; dilation is 1 here.

    Args:
        dropout: None, or a function from a shape to float factors, 0 or 1 / (1 - rate).
        lse: bool. Append the log of the softmax's denominator, one channel per head.
        cell: int. Queries per key along each axis: keys and values are maps of
            `ceil(height / cell)` times `ceil(width / cell)`, and the window of a query is centred
            on the key of its cell.

    Returns:
        `(batch, height, width, channels)`, or with `lse` `channels + num_heads`, float32.
    """
    height, width = ops.shape(q)[1:3]
    # Size in keys: a tile of fewer keys has as many queries.
    tile = tuple(_tile_side(size, cell) for size in ops.shape(k)[1:3])
    query_tile = tuple(cell * side for side in tile)
    radius = tuple(size // 2 for size in kernel_size)
    columns = ceil_divide(width, query_tile[1])
    keys_values = [k, v]
    if masked_border:
        keys_values.append(ops.ones_like(k[..., :1]))
    # Cut keys and values together: half the operations.
    keys_values = ops.concatenate(keys_values, axis=-1)
    queries = _rows_of_tiles(q, query_tile, (0, 0))
    keys_values = _rows_of_tiles(keys_values, tile, radius)
    out = _attend(
        queries,
        keys_values,
        columns,
        tile,
        cell,
        kernel_size,
        num_heads,
        scale,
        masked_border,
        dropout,
        lse,
    )
    rows = ceil_divide(height, query_tile[0])
    shape = (-1, rows * query_tile[0], columns * query_tile[1], out.shape[-1])
    return ops.reshape(out, shape)[:, :height, :width, :]


def _tile_side(size, cell):
    side = max(1, TILE_SIZE // cell)
    # A smaller map is one tile, so it need not be padded.
    return min(side, size) if isinstance(size, int) else side


def _rows_of_tiles(x, tile, radius):
    """Split `(batch, height, width, channels)` into one strip per row of tiles, zero-padded.

    Returns:
        Tensor `(batch * rows, tile[0] + 2 * radius[0], padded width, channels)`.
    """
    x = pad_to_multiple(pad_to_multiple(x, tile[0], 1), tile[1], 2)
    rows = ops.shape(x)[1] // tile[0]
    # After the last tile there must be whole tiles for all pieces of its halo.
    widths = [(r, -(-2 * r // t) * t - r) for t, r in zip(tile, radius, strict=True)]
    if any(radius):
        x = ops.pad(x, [(0, 0), *widths, (0, 0)])
    x = _overlapping(x, 1, tile[0], rows, radius[0])
    return ops.reshape(x, (-1, tile[0] + 2 * radius[0], *ops.shape(x)[3:]))


def _overlapping(x, axis, tile, count, radius):
    """Split an axis into `count` windows of `tile + 2 * radius` that start every `tile` steps.

    The axis becomes two, so the rank grows by one. Window `i` is tile `i` followed by the
    beginnings of the next ones.
    """
    shape = ops.shape(x)
    parts = []
    for start, length in _pieces(tile, radius):
        part = slice_axis(x, axis, start, start + count * tile)
        part = ops.reshape(part, (*shape[:axis], count, tile, *shape[axis + 1 :]))
        parts.append(slice_axis(part, axis + 1, 0, length))
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=axis + 1)


def _overlap_added(x, axis, tile, radius):
    """Transpose `_overlapping`: add overlapping windows, merging two axes into one."""
    shape = ops.shape(x)
    count, pieces = shape[axis], _pieces(tile, radius)
    last = pieces[-1][0]
    total = 0.0
    for start, length in pieces:
        part = slice_axis(x, axis + 1, start, start + length)
        part = pad_axis(part, axis + 1, 0, tile - length)
        part = ops.reshape(part, (*shape[:axis], count * tile, *shape[axis + 2 :]))
        total = total + pad_axis(part, axis, start, last - start)
    return total


def _pieces(tile, radius):
    """Return (start, length) of the parts of a window that lie in one tile each."""
    window = tile + 2 * radius
    return [(start, min(tile, window - start)) for start in range(0, window, tile)]


def _window_bias(tile, cell, kernel_size):
    """Return 0 for each of a tile's keys in a query's window, and a large negative number else."""
    inside = []
    for size, kernel in zip(tile, kernel_size, strict=True):
        centres = np.arange(size * cell) // cell
        distance = np.arange(size + kernel - 1)[None] - centres[:, None]
        inside.append((distance >= 0) & (distance < kernel))
    rows, columns = inside
    both = rows[:, None, :, None] & columns[None, :, None, :]
    queries, keys = math.prod(both.shape[:2]), math.prod(both.shape[2:])
    return np.where(both, 0, FORBIDDEN).reshape(queries, keys).astype("float32")


def _attend(
    q,
    kv,
    columns,
    tile,
    cell,
    kernel_size,
    num_heads,
    scale,
    masked_border,
    dropout,
    lse,
):
    """Attend in strips of tiles: `(strips, tile[0], width, channels)` to the same."""
    channels = q.shape[-1]
    radius = tuple(size // 2 for size in kernel_size)
    bias = device_constant(_window_bias, tile, cell, kernel_size, like=q)
    queries, keys = bias.shape
    strips = ops.shape(q)[0]
    chunk = None
    if isinstance(strips, int) and isinstance(columns, int):
        chunk = max(1, CHUNK_BYTES // (4 * columns * num_heads * queries * keys))
    factors = ()
    if dropout is not None:
        factors = (dropout((strips, columns * num_heads, queries, keys)),)

    def tiles(x, side, radius=0):
        """Split a chunk of strips into `(tiles, heads, tokens, channels of a head)`."""
        x = _overlapping(x, 2, side, columns, radius)
        rows, heads = x.shape[1], (num_heads if x.shape[-1] >= num_heads else 1)
        # Never above rank 6, which exporters reject.
        x = ops.transpose(x, (0, 2, 1, 3, 4))
        x = ops.reshape(x, (-1, rows * (side + 2 * radius), heads, x.shape[-1] // heads))
        return ops.transpose(x, (0, 2, 1, 3))

    def strip(x, rows, side, radius=0):
        """Transpose `tiles`: overlapping parts are added."""
        x = ops.transpose(x, (0, 2, 1, 3))
        x = ops.reshape(x, (-1, columns, rows, side + 2 * radius, x.shape[2] * x.shape[3]))
        return _overlap_added(ops.transpose(x, (0, 2, 1, 3, 4)), 2, side, radius)

    def query_tiles(x):
        return tiles(x, tile[1] * cell)

    def query_strip(x):
        return strip(x, tile[0] * cell, tile[1] * cell)

    def key_tiles(x):
        return tiles(x, tile[1], radius[1])

    def key_strip(x):
        return strip(x, tile[0] + 2 * radius[0], tile[1], radius[1])

    def split(kv):
        valid = key_tiles(kv[..., 2 * channels :]) if masked_border else None
        return key_tiles(kv[..., :channels]), key_tiles(kv[..., channels : 2 * channels]), valid

    def logits_of(q, k, valid):
        logits = ops.cast(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))), "float32") + bias
        if valid is not None:
            inside = ops.transpose(valid, (0, 1, 3, 2))
            logits = ops.where(inside > 0, logits, device_number(FORBIDDEN, like=logits))
        return logits

    def forward(chunk):
        q, kv, *factors = chunk
        q = query_tiles(q * scale)
        k, v, valid = split(kv)
        logits = logits_of(q, k, valid)
        highest = ops.max(logits, axis=-1, keepdims=True)
        weights = _exp(logits - highest)
        total = ops.sum(weights, axis=-1, keepdims=True)
        weights = weights / total
        if factors:
            weights = weights * ops.reshape(factors[0], ops.shape(weights))
        out = ops.cast(ops.matmul(ops.cast(weights, v.dtype), v), "float32")
        log_total = highest + ops.log(total)
        return query_strip(out), query_strip(log_total)

    def backward(chunk):
        out, log_total, upstream, upstream_log, q, kv, *factors = chunk
        q = query_tiles(q * scale)
        k, v, valid = split(kv)
        out, log_total, upstream, upstream_log = (
            query_tiles(x) for x in (out, log_total, upstream, upstream_log)
        )
        weights = _exp(logits_of(q, k, valid) - log_total)
        # The softmax's gradient subtracts the mean; the log of the denominator adds its own.
        mean = ops.sum(out * upstream, axis=-1, keepdims=True) - upstream_log
        upstream = ops.cast(upstream, q.dtype)
        to_weights = ops.cast(ops.matmul(upstream, ops.transpose(v, (0, 1, 3, 2))), "float32")
        kept = weights
        if factors:
            factor = ops.reshape(factors[0], ops.shape(weights))
            to_weights, kept = to_weights * factor, weights * factor
        to_logits = ops.cast(weights * (to_weights - mean), q.dtype)
        to_q = ops.matmul(to_logits, k) * scale
        to_k = ops.matmul(ops.transpose(to_logits, (0, 1, 3, 2)), q)
        to_v = ops.matmul(ops.transpose(ops.cast(kept, q.dtype), (0, 1, 3, 2)), upstream)
        to_kv = [key_strip(to_k), key_strip(to_v)]
        if masked_border:
            to_kv.append(ops.zeros_like(to_kv[0][..., :1]))
        return query_strip(to_q), ops.concatenate(to_kv, axis=-1)

    @ops.custom_gradient
    def attend(q, kv, *factors):
        out, log_total = _by_chunks(forward, (q, kv, *factors), strips, chunk)

        def gradient(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            upstream_log = upstream[..., channels:] if lse else ops.zeros_like(log_total)
            upstream = upstream[..., :channels]
            inputs = (out, log_total, upstream, upstream_log, q, kv, *factors)
            gradients = _by_chunks(backward, inputs, strips, chunk)
            return (*gradients, *(ops.zeros_like(x) for x in factors))

        if lse:
            return ops.concatenate([out, log_total], axis=-1), gradient
        # Not the tensor object that the gradient keeps: on torch each would hold the other, and
        # both their memory, until the garbage collector runs.
        return ops.reshape(out, ops.shape(out)), gradient

    # Also an argument: a function with a custom gradient cannot close over JAX tracers.
    return attend(q, kv, *factors)


def _exp(x):
    return ops.exp(ops.maximum(x, device_number(LOWEST, like=x)))


def _by_chunks(function, inputs, count, chunk):
    """Compute `function(inputs)` by chunks of the first axis, or at once if there are few."""
    if chunk is None or chunk >= count:
        return function(inputs)
    steps = -(-count // chunk)
    # Prefer a number of chunks that divides the strips, which then need no padding.
    steps = next((n for n in range(steps, 2 * steps) if count % n == 0), steps)
    chunk = -(-count // steps)

    def split(x):
        if steps * chunk != count:
            x = pad_axis(x, 0, 0, steps * chunk - count)
        return ops.reshape(x, (steps, chunk, *x.shape[1:]))

    outputs = ops.map(function, tuple(split(x) for x in inputs))
    return tuple(
        ops.reshape(y, (steps * chunk, *y.shape[2:]))[:count] for y in keras.tree.flatten(outputs)
    )
