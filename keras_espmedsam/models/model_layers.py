"""All layers of a model, at any depth."""

import keras


def model_layers(model):
    """All layers of a model, at any depth, the model itself first.

    `model.layers` are those of the graph alone, without what these layers hold. Keras hands all of
    them to the filters of `quantize`, and nowhere else in public.

    Args:
        model: `keras.Model`.

    Returns:
        list of `keras.layers.Layer`.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="dense")])
        >>> model_layers(model)[-1].name
        'dense'

    Source: ours.
    """
    found = []
    keras.Model.quantize(model, "int8", filters=lambda layer: bool(found.append(layer)))
    return found
