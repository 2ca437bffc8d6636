import keras
import numpy as np

from keras_espmedsam.layers import ModalityVariables
from keras_espmedsam.layers.modality_variables import select_modality


def test_names_shapes_initial_values_and_the_mark(ref):
    weights = ModalityVariables({"a": (2, 3), "b": [4]}, {"a": "ones"})
    weights.build()
    np.testing.assert_array_equal(ref.array(weights["a"]), np.ones((2, 3)))
    np.testing.assert_array_equal(ref.array(weights["b"]), np.zeros(4))
    assert [v.name for v in weights.trainable_variables] == ["a", "b"]
    assert all(v.modality == 0 for v in weights.trainable_variables)


def test_freezing_one_modality_leaves_the_others_trainable():
    first, second = ModalityVariables({"a": (2,)}), ModalityVariables({"a": (2,)})
    first.build()
    second.build()
    first.trainable = False
    assert not first.trainable_variables
    assert second.trainable_variables == [second["a"]]


def test_select_takes_each_samples_own_value(ref):
    values = [np.full((2, 3), k, "float32") for k in range(4)]
    chosen = select_modality(values, np.array([3, 0, 3], "int32"))
    expected = np.stack([values[3], values[0], values[3]])
    np.testing.assert_array_equal(ref.array(chosen), expected)


def test_select_with_one_value_broadcasts(ref):
    value = keras.ops.ones((2, 3))
    assert ref.array(select_modality([value], None)).shape == (1, 2, 3)
