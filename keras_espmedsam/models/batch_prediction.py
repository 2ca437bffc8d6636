"""Predict one batch with Keras' compiled function."""

import contextlib
import weakref

import keras

from keras_espmedsam.models.model_layers import model_layers

_uncalled: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def predict_batch(model, inputs):
    """Return a model's outputs for one batch, as `keras.Model.predict_on_batch` does.

    On JAX, that method runs the model once more, not compiled, as long as any layer in it is not
    built. keras-hub's EfficientNet holds layers for squeeze-and-excitation that are never called
    and so never built, and each call would take nine times as long.

    Args:
        model: a built `keras.Model`.
        inputs: inputs of the model.

    Returns:
        The outputs, as tensors or arrays.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> tuple(predict_batch(model, np.zeros((4, 2), "float32")).shape)
        (4, 3)
    """
    if keras.backend.backend() != "jax":
        return keras.Model.predict_on_batch(model, inputs)
    with _counted_as_built(_uncalled_layers(model)):
        return keras.Model.predict_on_batch(model, inputs)


def _uncalled_layers(model):
    """Return the layers that are not built, of a model that is."""
    if not model.built:
        return ()
    if model not in _uncalled:
        _uncalled[model] = [weakref.ref(one) for one in model_layers(model) if not one.built]
    layers = (one() for one in _uncalled[model])
    return [layer for layer in layers if layer is not None and not layer.built]


@contextlib.contextmanager
def _counted_as_built(layers):
    # Only meanwhile: a built layer without weights can be neither saved nor loaded.
    for layer in layers:
        layer.built = True
    try:
        yield
    finally:
        for layer in layers:
            layer.built = False
