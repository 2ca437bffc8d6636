"""Predict a batch by Keras' compiled function alone."""

import contextlib
import weakref

import keras

from keras_espmedsam.models.model_layers import model_layers

_uncalled: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def compiled_alone(model):
    """Keep `predict_on_batch` on JAX from running the model once more, not compiled.

    It does so as long as any layer in the model is not built. keras-hub's EfficientNet holds layers
    for squeeze-and-excitation that are never called and so never built, and each call would take
    nine times as long. Within this context such layers count as built.

    Args:
        model: a built `keras.Model`; of another object, nothing is changed.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> with compiled_alone(model):
        ...     found = model.predict_on_batch(np.zeros((4, 2), "float32"))
        >>> tuple(found.shape)
        (4, 3)
    """
    layers = _uncalled_layers(model) if keras.backend.backend() == "jax" else ()
    # Only meanwhile: a built layer without weights can be neither saved nor loaded.
    for layer in layers:
        layer.built = True
    try:
        yield
    finally:
        for layer in layers:
            layer.built = False


def _uncalled_layers(model):
    """Return the layers that are not built, of a model that is."""
    if not isinstance(model, keras.Model) or not model.built:
        return ()
    if model not in _uncalled:
        _uncalled[model] = [weakref.ref(one) for one in model_layers(model) if not one.built]
    layers = (one() for one in _uncalled[model])
    return [layer for layer in layers if layer is not None and not layer.built]
