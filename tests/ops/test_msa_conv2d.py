import keras
import numpy as np
import pytest

from keras_espmedsam.ops import merge_attentions, msa_conv2d, tiled_attention

# (shape, kernel, dilation, heads): tiles that fit and do not, one-dimensional windows, windows
# larger than the image, one pixel, phases of unequal size, a head per channel.
CASES = [
    ((2, 13, 17, 8), (3, 3), (1, 1), 1),
    ((1, 20, 9, 8), (5, 1), (2, 3), 4),
    ((1, 3, 30, 6), (1, 5), (3, 1), 6),
    ((1, 1, 1, 4), (3, 3), (1, 1), 2),
    ((1, 3, 4, 4), (3, 9), (1, 1), 2),
    ((1, 20, 9, 8), (7, 7), (1, 1), 2),
    ((1, 5, 5, 4), (15, 15), (1, 1), 1),
]


@pytest.mark.parametrize("border", ["zero", "mask"])
@pytest.mark.parametrize(
    ("shape", "kernel", "dilation", "heads", "algorithm"),
    [(*case, "tiles") for case in CASES] + [(*case, "slices") for case in CASES[:5]],
)
def test_output_and_gradients_are_those_of_the_unfolded_form(
    shape, kernel, dilation, heads, algorithm, border, reference, value_and_gradients
):
    rng = np.random.default_rng(3)
    *arrays, upstream = rng.normal(size=(4, *shape)).astype("float32")
    expected, gradients, _ = reference(*arrays, upstream, kernel, dilation, heads, border)
    out, found = value_and_gradients(
        lambda q, k, v: msa_conv2d(
            q, k, v, kernel, dilation, heads, border=border, algorithm=algorithm
        ),
        arrays,
        upstream,
    )
    np.testing.assert_allclose(out, expected, atol=1e-5)
    for a, b in zip(found, gradients, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_published_border_rule(run_op):
    zeros, ones = np.zeros((1, 5, 6, 2), "float32"), np.ones((1, 5, 6, 2), "float32")
    for algorithm in ("tiles", "slices"):
        out = run_op(msa_conv2d, zeros, zeros, ones, kernel_size=3, algorithm=algorithm)
        np.testing.assert_allclose(out[0, 0, 0], 4 / 9, rtol=1e-6)
        np.testing.assert_allclose(out[0, 0, 1], 6 / 9, rtol=1e-6)
        np.testing.assert_allclose(out[0, 1, 1], 1, rtol=1e-6)
        masked = run_op(
            msa_conv2d, zeros, zeros, ones, kernel_size=3, border="mask", algorithm=algorithm
        )
        np.testing.assert_allclose(masked, 1, rtol=1e-6)


@pytest.mark.parametrize("heads", [2, 8])
def test_chunks_change_nothing(heads, monkeypatch, reference, value_and_gradients):
    """Few strips at a time: also a number of strips that no number of chunks divides."""
    monkeypatch.setattr(tiled_attention, "CHUNK_BYTES", 2 * 4 * 3 * heads * 64 * 144)
    rng = np.random.default_rng(4)
    *arrays, upstream = rng.normal(size=(4, 1, 50, 20, 8)).astype("float32")
    expected, gradients, _ = reference(*arrays, upstream, (5, 5), heads=heads)
    out, found = value_and_gradients(
        lambda q, k, v: msa_conv2d(q, k, v, 5, num_heads=heads, algorithm="tiles"),
        arrays,
        upstream,
    )
    np.testing.assert_allclose(out, expected, atol=1e-5)
    for a, b in zip(found, gradients, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(("heads", "algorithm"), [(2, "tiles"), (2, "slices"), (4, "slices")])
def test_log_of_the_denominator_and_its_gradient(heads, algorithm, reference, value_and_gradients):
    rng = np.random.default_rng(5)
    *arrays, upstream = rng.normal(size=(4, 1, 6, 9, 4)).astype("float32")
    _, _, expected = reference(*arrays, upstream, (3, 3), heads=heads)

    def log_total(q, k, v):
        return msa_conv2d(q, k, v, 3, num_heads=heads, return_log_total=True, algorithm=algorithm)[
            1
        ]

    weights = rng.normal(size=expected.shape).astype("float32")
    out, (to_q, to_k, to_v) = value_and_gradients(log_total, arrays, weights)
    np.testing.assert_allclose(out, expected, atol=1e-5)
    np.testing.assert_allclose(to_v, 0, atol=1e-7)
    # A central difference along one direction of q and of k.
    for which, gradient in ((0, to_q), (1, to_k)):
        step = rng.normal(size=arrays[0].shape)
        sums = []
        for sign in (1, -1):
            moved = list(arrays)
            moved[which] = arrays[which] + sign * 1e-4 * step
            sums.append((reference(*moved, upstream, (3, 3), heads=heads)[2] * weights).sum())
        np.testing.assert_allclose(
            (gradient * step).sum(), (sums[0] - sums[1]) / 2e-4, rtol=1e-4, atol=1e-4
        )


def test_merged_attentions_are_one_softmax(run_op, reference):
    q, k, v = np.random.default_rng(6).normal(size=(3, 1, 7, 5, 4)).astype("float32")

    def merged(q, k, v, lowered):
        out, log_total = msa_conv2d(q, k, v, 3, num_heads=2, return_log_total=True)
        other, other_log = msa_conv2d(q, k, -v, 3, num_heads=2, return_log_total=True)
        return merge_attentions([(out, log_total), (other, other_log - lowered)])

    expected, _, _ = reference(q, k, v, q, (3, 3), heads=2)
    # The same keys with opposite values, at e^-lowered of their weight.
    for lowered in (0.0, 1.0, 40.0):
        share = 1 / (1 + np.exp(-lowered))
        np.testing.assert_allclose(
            run_op(merged, q, k, v, lowered=lowered), (2 * share - 1) * expected, atol=1e-5
        )


@pytest.mark.parametrize("algorithm", ["tiles", "slices"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 4e-3), ("bfloat16", 3e-2)])
def test_half_precision_keeps_the_softmax_in_float32(
    dtype, tolerance, algorithm, run_op, reference
):
    rng = np.random.default_rng(7)
    q, k, v = rng.normal(size=(3, 1, 9, 9, 8)).astype("float32")

    def low(q, k, v):
        q, k, v = (keras.ops.cast(x, dtype) for x in (q, k, v))
        out = msa_conv2d(q, k, v, 5, num_heads=2, algorithm=algorithm)
        assert keras.backend.standardize_dtype(out.dtype) == dtype
        return [keras.ops.cast(x, "float32") for x in (out, q, k, v)]

    found, *exact = run_op(low, q, k, v)
    expected, _, _ = reference(*exact, exact[0], (5, 5), heads=2)
    np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize("algorithm", ["tiles", "slices"])
def test_large_logits_do_not_overflow(algorithm, run_op):
    q = k = np.full((1, 4, 4, 4), 100, "float32")
    v = np.arange(64, dtype="float32").reshape(1, 4, 4, 4)
    out = run_op(msa_conv2d, q, k, v, kernel_size=3, border="mask", algorithm=algorithm)
    np.testing.assert_allclose(out[0, 1, 1], v[0, :3, :3].mean((0, 1)), rtol=1e-5)


@pytest.mark.parametrize("algorithm", ["tiles", "slices"])
def test_dropout_drops_its_share_and_keeps_the_mean(algorithm, value_and_gradients):
    q = k = np.zeros((1, 32, 32, 4), "float32")
    v = np.ones((1, 32, 32, 4), "float32")
    out, (_, _, to_v) = value_and_gradients(
        lambda q, k, v: msa_conv2d(
            q, k, v, 5, border="mask", dropout_rate=0.25, seed=7, algorithm=algorithm
        ),
        (q, k, v),
        np.ones_like(v),
    )
    np.testing.assert_allclose(out.mean(), 1, atol=0.02)
    # 25 keys, each kept with 3/4 and then worth 4/3 of 1/25: variance (1/3) / 25.
    np.testing.assert_allclose(out[:, 2:-2, 2:-2, 0].std(), (1 / 75) ** 0.5, rtol=0.1)
    # The gradient meets the same draw: what the outputs are, summed, is what the values gave.
    np.testing.assert_allclose(to_v.sum(), out.sum(), rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kernel_size": 4}, "kernel_size=4.*odd"),
        ({"kernel_size": (3, 2)}, "odd"),
        ({"kernel_size": 3, "num_heads": 3}, "1, 2, 4, 8"),
        ({"kernel_size": 3, "dilation_rate": 0}, "dilation_rate=0"),
        ({"kernel_size": 3, "border": "wrap"}, "zero, mask"),
        ({"kernel_size": 3, "algorithm": "fast"}, "auto, slices, tiles"),
    ],
)
def test_bad_arguments_are_named(options, words):
    x = np.zeros((1, 4, 4, 8), "float32")
    with pytest.raises(ValueError, match=words):
        msa_conv2d(x, x, x, **options)


def test_unequal_inputs_are_named():
    x = np.zeros((1, 4, 4, 8), "float32")
    with pytest.raises(ValueError, match="one shape"):
        msa_conv2d(x, x[:, :3], x, 3)
    with pytest.raises(ValueError, match="int32; expected floats"):
        msa_conv2d(*[x.astype("int32")] * 3, 3)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="torch counts references")
@pytest.mark.parametrize(("heads", "algorithm"), [(2, "tiles"), (2, "slices"), (4, "slices")])
@pytest.mark.parametrize("log_total", [False, True])
def test_memory_is_freed_with_the_last_reference(heads, algorithm, log_total):
    import gc
    import weakref

    import torch

    x = torch.zeros((1, 4, 4, 4), requires_grad=True)
    gc.disable()
    try:
        q = x * 1
        watched = weakref.ref(q)
        out = msa_conv2d(
            q, x, x, 3, num_heads=heads, algorithm=algorithm, return_log_total=log_total
        )
        del q, out
        assert watched() is None
    finally:
        gc.enable()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow traces sizes")
@pytest.mark.parametrize("algorithm", ["tiles", "slices"])
@pytest.mark.parametrize("dilation", [1, 2])
def test_size_unknown_while_tracing(algorithm, dilation, reference):
    import tensorflow as tf

    traced = tf.function(
        lambda q, k, v: msa_conv2d(q, k, v, 5, dilation, 2, algorithm=algorithm),
        input_signature=[tf.TensorSpec((None, None, None, 4))] * 3,
        autograph=False,
    )
    rng = np.random.default_rng(8)
    for size in ((9, 17), (3, 8)):
        q, k, v = rng.normal(size=(3, 2, *size, 4)).astype("float32")
        expected, _, _ = reference(q, k, v, q, (5, 5), (dilation, dilation), 2)
        np.testing.assert_allclose(traced(q, k, v).numpy(), expected, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the converter is TensorFlow's")
@pytest.mark.parametrize(("heads", "dilation"), [(2, 1), (2, 2), (8, 1)])
def test_exports_to_tflite_with_built_in_operators(heads, dilation, reference):
    import tensorflow as tf

    spec = tf.TensorSpec((1, 20, 17, 8))
    function = tf.function(
        lambda q, k, v: msa_conv2d(q, k, v, 3, dilation, heads),
        input_signature=[spec] * 3,
        autograph=False,
    ).get_concrete_function()
    ranks = [
        len(tensor.shape)
        for operation in function.graph.get_operations()
        for tensor in operation.outputs
        if tensor.shape.rank is not None
    ]
    assert max(ranks) <= 6
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    arrays = np.random.default_rng(9).normal(size=(3, 1, 20, 17, 8)).astype("float32")
    details = sorted(interpreter.get_input_details(), key=lambda d: d["name"])
    assert [d["name"].split("_")[-1][:1] for d in details] == ["k", "q", "v"]
    for detail, array in zip(details, (arrays[1], arrays[0], arrays[2]), strict=True):
        interpreter.set_tensor(detail["index"], array)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    expected, _, _ = reference(*arrays, arrays[0], (3, 3), (dilation, dilation), heads)
    np.testing.assert_allclose(found, expected, atol=1e-5)
