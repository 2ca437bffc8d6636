"""What goes around tf2onnx comes out as tf2onnx would have written it."""

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow writes ONNX; see other_process"
)


class Layers:
    """A convolution, a table whose rows are chosen, and two matrices that are made into one."""

    def __init__(self, channels=64):
        rng = np.random.default_rng(0)

        def variable(name, *shape):
            value = rng.normal(scale=0.1, size=shape).astype("float32")
            return keras.Variable(value, name=name)

        self.kernel = variable("kernel", 3, 3, 3, channels)
        self.bias = variable("bias", channels)
        self.table = variable("table", 3, channels, 40)
        self.pair = [variable("half", channels, 80) for _ in range(2)]
        self.last = variable("last", 1, 1, channels, 1)
        self.unread = variable("unread", 100, 100)
        self.variables = [self.kernel, self.bias, self.table, *self.pair, self.last, self.unread]

    def __call__(self, images, rows):
        import tensorflow as tf

        x = keras.ops.conv(images, self.kernel, padding="same") + self.bias
        x = keras.ops.relu(x)
        wide = keras.ops.matmul(x, keras.ops.concatenate([one.value for one in self.pair], 1))
        chosen = tf.gather(self.table.value, rows)
        narrow = keras.ops.einsum("bhwc,bcd->bhwd", x, chosen)
        # Without a second channel, tf2onnx makes a reshape of what it transposes.
        single = keras.ops.conv(x, self.last, padding="same")
        return {"wide": wide, "narrow": narrow, "single": single}


@pytest.fixture(scope="module")
def layers():
    return Layers()


def _model(layers, shape=(None, None, None, 3), variables=None):
    import tensorflow as tf

    from keras_espmedsam.export.onnx_graph import to_onnx

    signature = [
        tf.TensorSpec(shape, "float32", "images"),
        tf.TensorSpec(shape[:1], "int32", "rows"),
    ]
    return to_onnx(layers, signature, layers.variables if variables is None else variables)


def _run(model, **inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.mark.parametrize("known", [True, False])
def test_the_model_is_the_function_of_any_size_and_batch(layers, known):
    # Weights that it is not told of are captured, and frozen by tf2onnx itself.
    model = _model(layers, variables=None if known else layers.variables[:1])
    assert [one.name for one in model.graph.input] == ["images", "rows"]
    assert [one.name for one in model.graph.output] == ["wide", "narrow", "single"]
    for shape, rows in (((1, 6, 5, 3), [2]), ((2, 4, 8, 3), [0, 1])):
        images = np.random.default_rng(1).normal(size=shape).astype("float32")
        rows = np.array(rows, "int32")
        expected = layers(images, rows)
        for name, found in _run(model, images=images, rows=rows).items():
            np.testing.assert_allclose(found, expected[name], atol=1e-5)


def test_large_weights_are_constants_each_once_and_what_is_made_of_them_alone_is_made(layers):
    from onnx import numpy_helper

    from keras_espmedsam.export.onnx_graph import MAX_CONSTANT

    graph = _model(layers).graph
    held = [numpy_helper.to_array(one) for one in graph.initializer]
    large = [one for one in held if one.size > MAX_CONSTANT]
    shapes = sorted(one.shape for one in large)
    # The table as it is, the two halves as one; what nothing reads is left out.
    assert shapes == [(3, 64, 40), (64, 160)]
    joined = np.concatenate([keras.ops.convert_to_numpy(one) for one in layers.pair], 1)
    np.testing.assert_array_equal(next(one for one in large if one.ndim == 2), joined)
    kernels = [one for one in held if one.shape == (64, 3, 3, 3)]
    np.testing.assert_array_equal(
        kernels[0], keras.ops.convert_to_numpy(layers.kernel).transpose(3, 2, 0, 1)
    )
    assert "Transpose" in {one.op_type for one in graph.node}  # of the images, at either end
    assert layers.table.path in {one.name for one in graph.initializer}


def test_variables_of_one_path_are_told_apart(layers):
    assert layers.pair[0].path == layers.pair[1].path
    found = _run(_model(layers), images=np.ones((1, 2, 2, 3), "float32"), rows=np.zeros(1, "int32"))
    halves = np.split(found["wide"], 2, axis=-1)
    assert np.abs(halves[0] - halves[1]).max() > 0.01


def test_what_constants_would_grow_into_stays_an_operation():
    import tensorflow as tf

    from keras_espmedsam.export.onnx_graph import to_onnx

    weight = keras.Variable(np.arange(5000, dtype="float32")[None], name="weight")
    model = to_onnx(
        lambda x: {"y": x + tf.tile(weight.value, (50, 1))},
        [tf.TensorSpec((50, 5000), "float32", "x")],
        [weight],
    )
    assert sum(len(one.raw_data) for one in model.graph.initializer) < 2 * 4 * 5000
    found = _run(model, x=np.ones((50, 5000), "float32"))["y"]
    np.testing.assert_array_equal(found, np.arange(1, 5001, dtype="float32")[None].repeat(50, 0))


def _merged_graph(function, *shapes):
    """A function's graph before and after equal nodes became one, and both as functions."""
    import tensorflow as tf

    from keras_espmedsam.export.onnx_graph import _merged

    signature = [tf.TensorSpec(s, "float32", f"x{i}") for i, s in enumerate(shapes)]
    concrete = tf.function(function, input_signature=signature).get_concrete_function()
    before = concrete.graph.as_graph_def()
    names = [one.name for one in concrete.inputs], [one.name for one in concrete.outputs]
    kept = {name.split(":")[0] for part in names for name in part}
    stateful = {one.type for one in concrete.graph.get_operations() if one.op_def.is_stateful}
    after = _merged(concrete.graph.as_graph_def(), kept, stateful)

    def run(graph, *values):
        with tf.Graph().as_default():
            tf.import_graph_def(graph, name="")
            with tf.compat.v1.Session() as session:
                return session.run(names[1], dict(zip(names[0], values, strict=True)))

    return before, after, run


def _types(graph):
    return sorted(node.op for node in graph.node)


def test_equal_nodes_become_one_and_give_the_same():
    import tensorflow as tf

    def function(x):
        first = tf.reshape(x * 2.0, [tf.shape(x)[0], -1])
        second = tf.reshape(tf.stop_gradient(tf.identity(x)) * 2.0, [tf.shape(x)[0], -1])
        low, high = tf.split(first, 2, axis=1)
        again, _ = tf.split(second, 2, axis=1)
        # Both outputs stay, though they are equal.
        return low - tf.split(second, 2, axis=1)[1], high + again, high + again

    before, after, run = _merged_graph(function, (None, 2, 3))
    assert _types(after).count("Reshape") == 1 and _types(before).count("Reshape") == 2
    assert _types(after).count("Split") == 1 and "StopGradient" not in _types(after)
    x = np.random.default_rng(0).normal(size=(3, 2, 3)).astype("float32")
    for found, expected in zip(run(after, x), run(before, x), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert np.abs(run(after, x)[0]).max() > 0.1


def test_what_looks_equal_and_is_not_stays():
    import tensorflow as tf

    def function(x, y):
        noise = [tf.random.uniform((2,)) for _ in range(2)]
        with tf.control_dependencies([tf.debugging.assert_non_negative(x)]):
            waiting = tf.identity(x) + 1.0
        return waiting + (x + 1.0), x + y, noise[0] - noise[1]

    before, after, run = _merged_graph(function, (2,), (2,))
    assert _types(after).count("Placeholder") == 2
    assert _types(after).count("RandomUniform") == _types(before).count("RandomUniform") == 2
    one, two = np.array([1, 2], "float32"), np.array([5, 7], "float32")
    waiting, total, noise = run(after, one, two)
    np.testing.assert_array_equal(waiting, [4, 6])
    np.testing.assert_array_equal(total, [6, 9])
    assert np.abs(noise).max() > 0
