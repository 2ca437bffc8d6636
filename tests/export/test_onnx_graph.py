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
        self.unread = variable("unread", 100, 100)
        self.variables = [self.kernel, self.bias, self.table, *self.pair, self.unread]

    def __call__(self, images, rows):
        import tensorflow as tf

        x = keras.ops.conv(images, self.kernel, padding="same") + self.bias
        x = keras.ops.relu(x)
        wide = keras.ops.matmul(x, keras.ops.concatenate([one.value for one in self.pair], 1))
        chosen = tf.gather(self.table.value, rows)
        narrow = keras.ops.einsum("bhwc,bcd->bhwd", x, chosen)
        return {"wide": wide, "narrow": narrow}


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
    assert [one.name for one in model.graph.output] == ["wide", "narrow"]
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
