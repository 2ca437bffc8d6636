"""All layers of a model, at any depth."""

import keras


def model_layers(model):
    """Return all layers of a model, at any depth, the model itself first.

    `model.layers` has only those of the graph, without the layers inside them. In the public API,
    Keras gives all of them only to the filters of `quantize`.

    Args:
        model: `keras.Model`.

    Returns:
        list of `keras.layers.Layer`.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="dense")])
        >>> model_layers(model)[-1].name
        'dense'
    """
    found = []
    keras.Model.quantize(model, "int8", filters=lambda layer: bool(found.append(layer)))
    return found
