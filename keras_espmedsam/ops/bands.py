"""Process a large map in bands of rows, one after the other, so that intermediates stay small."""

import keras
from keras import ops

# Bytes of the widest map in a band. On a CPU, 4 and 8 MiB take equal time, 16 a fifth more.
BAND_BYTES = 6 * 2**20


def in_bands(function, x, channels, unit=1, halo=0):
    """Compute `function(x)`; on a CPU in inference, large maps are processed band by band.

    A layer that widens its input makes maps of 64 MiB from an image of 1024 x 1024. On PyTorch
    each is newly allocated memory, whose pages the system clears one by one, which takes more time
    than the arithmetic, and none stays in the CPU's caches; XLA holds all of them at once. In
    bands, an `MBConv` of 256 x 256 positions takes half its time on both, and on JAX an eighth of
    its memory; for the whole model see `benchmarks/speed.py whole`. On TensorFlow, bands take as
    long as the whole map.

    Args:
        function: from rows `(batch, rows, width, channels)` to as many rows with another number of
            channels. It treats all rows alike, except for `halo`, and pads at the map's borders.
        x: tensor `(batch, height, width, channels)`.
        channels: int. Channels of the widest intermediate map.
        unit: int. Bands begin and end at multiples of so many rows; so does the map.
        halo: int. How many rows beyond a row its result depends on.

    Returns:
        The value of `function(x)`, up to rounding.

    Example:
        >>> x = np.ones((1, 8, 6, 3), "float32")
        >>> tuple(in_bands(lambda rows: 2 * rows, x, channels=3).shape)
        (1, 8, 6, 3)
    """
    rows = _rows_of_a_band(x, channels, unit, halo)
    if rows is None:
        return function(x)
    height = x.shape[1]
    count = -(-height // rows)
    read = rows + 2 * halo

    def band(start):
        """Return the rows from `start` on; at the borders the input begins or ends with the map."""
        begin = ops.clip(start - halo, 0, height - read) if halo else start
        part = ops.slice(x, (0, begin, 0, 0), (x.shape[0], read, *x.shape[2:]))
        y = function(part)
        if not halo:
            return y
        return ops.slice(y, (0, start - begin, 0, 0), (y.shape[0], rows, *y.shape[2:]))

    # The last band ends with the map and may overlap the one before it.
    starts = [min(i * rows, height - rows) for i in range(count)]
    new = height - rows * (count - 1)
    if keras.backend.backend() == "torch":
        parts = []
        for start in starts:
            begin = min(max(start - halo, 0), height - read)
            y = function(x[:, begin : begin + read])
            parts.append(y[:, start - begin : start - begin + rows])
        parts[-1] = parts[-1][:, rows - new :]
        return ops.concatenate(parts, axis=1)
    # A loop of the program: otherwise XLA would hold the maps of several bands at once.
    y = ops.map(band, ops.convert_to_tensor(starts, dtype="int32"))
    shape = y.shape[1:]
    last = y[-1][:, rows - new :]
    y = ops.reshape(ops.transpose(y, (1, 0, 2, 3, 4)), (shape[0], count * rows, *shape[2:]))
    if new == rows:
        return y
    return ops.concatenate([y[:, : rows * (count - 1)], last], axis=1)


def _rows_of_a_band(x, channels, unit, halo):
    """Return the rows of a band, or `None` to do without bands."""
    if not all(isinstance(size, int) for size in x.shape) or not _pays(x):
        return None
    batch, height, width, _ = x.shape
    units = height // unit
    num_bytes = 2 if "16" in keras.backend.standardize_dtype(x.dtype) else 4
    per_unit = batch * unit * width * channels * num_bytes
    # Below one and a half bands it is not worth it.
    if units * per_unit < 1.5 * BAND_BYTES:
        return None
    count = min(units, -(-units * per_unit // BAND_BYTES))
    rows = -(-units // count) * unit
    return rows if rows + 2 * halo < height else None


def _pays(x):
    """Whether this runs on a CPU, without a gradient, on a backend that gains from it."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        # With a gradient, all intermediates are kept in any case.
        on_cpu = isinstance(x, torch.Tensor) and x.device.type == "cpu"
        return on_cpu and not torch.is_grad_enabled()
    if backend == "jax":
        import jax

        return jax.default_backend() == "cpu" and not isinstance(x, keras.KerasTensor)
    return False
