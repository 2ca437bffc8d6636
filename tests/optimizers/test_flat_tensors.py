import keras
import numpy as np
import pytest

from keras_espmedsam.optimizers.flat_tensors import (
    begins,
    in_jax_trace,
    joined,
    opaque_offsets,
    spread,
)

SHAPES = {"one": [(2, 3)], "scalars": [(), (1,)], "many": [(2, 1, 3), (4,), (), (5, 2)]}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_there_and_back(name, dtype):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-8, 8, shape).astype("float32") for shape in SHAPES[name]]
    variables = [keras.Variable(np.zeros(a.shape), dtype=dtype) for a in arrays]
    vector = joined([keras.ops.convert_to_tensor(a) for a in arrays], dtype)
    assert keras.backend.standardize_dtype(vector.dtype) == dtype
    expected = np.concatenate([a.ravel() for a in arrays])
    as_numpy = keras.ops.convert_to_numpy(keras.ops.cast(vector, "float32"))
    np.testing.assert_array_equal(as_numpy, expected)
    spread(vector, variables)
    for variable, array in zip(variables, arrays, strict=True):
        value = keras.ops.convert_to_numpy(keras.ops.cast(variable.value, "float32"))
        np.testing.assert_array_equal(value, array)
    # Joined from variables: the same, and no view of them.
    again = joined(variables, dtype)
    variables[0].assign(keras.ops.zeros(variables[0].shape))
    as_numpy = keras.ops.convert_to_numpy(keras.ops.cast(again, "float32"))
    np.testing.assert_array_equal(as_numpy, expected)


def test_a_few_rows_of_a_gradient_become_all_of_them():
    """On TensorFlow the gradient of a table is a list of rows, one of them here twice."""
    if keras.backend.backend() != "tensorflow":
        rows = keras.ops.convert_to_tensor([[0.0, 0.0], [3.0, 5.0], [0.0, 0.0]])
    else:
        import tensorflow as tf

        values = tf.constant([[1.0, 2.0], [2.0, 3.0]])
        rows = tf.IndexedSlices(values, tf.constant([1, 1]), tf.constant([3, 2]))
    found = keras.ops.convert_to_numpy(joined([rows], "float32"))
    np.testing.assert_array_equal(found, [0, 0, 3, 5, 0, 0])


def test_offsets_are_opaque_where_jax_compiles():
    variables = [keras.Variable(np.zeros(shape)) for shape in SHAPES["many"]]
    assert begins(variables) == [0, 6, 10, 11]
    count = keras.ops.convert_to_tensor(3)
    assert opaque_offsets(variables, count) is None
    assert not in_jax_trace(count)
    if keras.backend.backend() == "jax":
        import jax

        def function(count, vector):
            assert in_jax_trace(count)
            offsets = opaque_offsets(variables, count)
            assert len(offsets) == 4
            with keras.StatelessScope() as scope:
                spread(vector, variables, offsets)
            return [scope.get_current_value(variable) for variable in variables]

        parts = jax.jit(function)(count, np.arange(21, dtype="float32"))
        for part, begin in zip(parts, begins(variables), strict=True):
            np.testing.assert_array_equal(np.ravel(part), np.arange(begin, begin + part.size))
