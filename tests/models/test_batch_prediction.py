"""One batch is predicted by the compiled function alone, also with layers that are never called."""

import keras
import numpy as np

from keras_espmedsam.models.batch_prediction import compiled_alone
from keras_espmedsam.models.model_layers import model_layers


def _predicted(model, x):
    with compiled_alone(model):
        return model.predict_on_batch(x)


@keras.saving.register_keras_serializable(package="tests")
class _WithUncalled(keras.layers.Layer):
    """Doubles its input, counts calls of its Python code, and has a layer that it never calls."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.uncalled = keras.layers.Dense(3, name="uncalled")
        self.calls = 0

    def call(self, x):
        self.calls += 1
        return 2 * x


def test_a_layer_that_is_never_called_costs_no_second_run(tmp_path):
    layer = _WithUncalled()
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="last")(layer(inputs)))
    x = np.array([[1.0, 2.0]], "float32")
    expected = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(_predicted(model, x), expected, rtol=1e-5)
    before = layer.calls
    np.testing.assert_allclose(_predicted(model, x), expected, rtol=1e-5)
    if keras.backend.backend() == "jax":
        assert layer.calls == before  # Compiled, and nothing beside.
    # It is as before: neither built nor saved.
    assert [one.name for one in model_layers(model) if not one.built] == ["uncalled"]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(_predicted(again, x), expected, rtol=1e-5)
