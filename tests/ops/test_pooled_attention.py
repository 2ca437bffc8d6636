import numpy as np
import pytest

from keras_espmedsam.ops import pooled_window_attention


def _expected(q, k, v, cell, kernel, heads):
    """Pixel by pixel, cell by cell."""
    batch, height, width, channels = q.shape
    rows, columns = -(-height // cell), -(-width // cell)

    def pooled(x):
        cells = [
            [
                x[:, i * cell : (i + 1) * cell, j * cell : (j + 1) * cell].mean((1, 2))
                for j in range(columns)
            ]
            for i in range(rows)
        ]
        return np.stack(cells).transpose(2, 0, 1, 3)

    k, v = pooled(k), pooled(v)
    out, log_total = np.zeros_like(q), np.zeros((batch, height, width, heads))
    for y in range(height):
        for x in range(width):
            window = tuple(
                slice(max(0, place // cell - kernel // 2), place // cell + kernel // 2 + 1)
                for place in (y, x)
            )
            near = [
                a[:, window[0], window[1]].reshape(batch, -1, heads, channels // heads)
                for a in (k, v)
            ]
            query = q[:, y, x].reshape(batch, heads, -1) * (channels // heads) ** -0.5
            weights = np.exp(np.einsum("bhd,bnhd->bhn", query, near[0]))
            total = weights.sum(-1, keepdims=True)
            out[:, y, x] = np.einsum("bhn,bnhd->bhd", weights / total, near[1]).reshape(batch, -1)
            log_total[:, y, x] = np.log(total[..., 0])
    return out, log_total


@pytest.mark.parametrize(
    ("size", "cell", "kernel"), [((13, 18), 4, 5), ((9, 7), 2, 3), ((2, 3), 4, 3), ((21, 10), 9, 3)]
)
def test_keys_are_the_means_of_cells(size, cell, kernel, run_op):
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 2, *size, 8))
    tensors = (x.astype("float32") for x in (q, k, v))
    out, log_total = run_op(
        pooled_window_attention, *tensors, cell=cell, kernel_size=(kernel, kernel), num_heads=2
    )
    expected = _expected(q, k, v, cell, kernel, 2)
    np.testing.assert_allclose(out, expected[0], atol=1e-5)
    np.testing.assert_allclose(log_total, expected[1], atol=1e-5)


def test_gradients_are_finite_differences(value_and_gradients):
    rng = np.random.default_rng(1)
    arrays = [x.astype("float32") for x in rng.normal(size=(3, 1, 7, 6, 4))]
    upstream = rng.normal(size=(1, 7, 6, 4))
    _, found = value_and_gradients(
        lambda q, k, v: pooled_window_attention(q, k, v, 3, (3, 3), 2)[0],
        arrays,
        upstream.astype("float32"),
    )
    for which in range(3):
        step = rng.normal(size=arrays[0].shape)
        sums = []
        for sign in (1, -1):
            moved = [x.astype("float64") for x in arrays]
            moved[which] = moved[which] + sign * 1e-5 * step
            sums.append((_expected(*moved, 3, 3, 2)[0] * upstream).sum())
        difference = (sums[0] - sums[1]) / 2e-5
        np.testing.assert_allclose((found[which] * step).sum(), difference, atol=1e-4)
