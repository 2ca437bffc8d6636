"""`keras.models.clone_model` of our models gives a model of the same class.

Keras clones the graph alone, whatever `get_config` says: a bare `Functional`, which does not
preprocess images and would predict nonsense from them. It asks the model for nothing that a class
could answer otherwise, so that the public function itself is wrapped, for our models alone.
"""

import functools

import keras

from keras_espmedsam.errors import InputError

_PACKAGE = "keras_espmedsam>"


def clone(model):
    """A model of the same class and configuration, compiled alike, with new initial weights.

    Args:
        model: a model of this package.

    Returns:
        The clone.

    Raises:
        InputError: for a folded model.

    Example:
        >>> backbone = TiCBackbone(
        ...     hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3)
        >>> type(keras.models.clone_model(backbone)).__name__
        'TiCBackbone'

    Source: Keras' `clone_model`.
    """
    if getattr(model, "is_folded", False):
        raise InputError(
            "Received clone_model() for a folded model; clone the one that it was made from."
        )
    cloned = type(model).from_config(model.get_config())
    if model.compiled:
        cloned.compile_from_config(model.get_compile_config())
    return cloned


def keep_class_in_clones():
    """Let `keras.models.clone_model` clone our models whole; done once, when `models` is imported.

    Source: ours.
    """
    of_keras = keras.models.clone_model
    if getattr(of_keras, "keeps_class", False):
        return

    @functools.wraps(of_keras)
    def clone_model(model, *args, **kwargs):
        if not keras.saving.get_registered_name(type(model)).startswith(_PACKAGE):
            return of_keras(model, *args, **kwargs)
        if any(value is not None and value is not False for value in (*args, *kwargs.values())):
            raise InputError(
                f"Received clone_model() of {type(model).__name__} with further arguments, which "
                "would lose its class; give the model alone, or clone "
                "keras.Model(model.input, model.output)."
            )
        return clone(model)

    clone_model.keeps_class = True
    keras.models.clone_model = clone_model
