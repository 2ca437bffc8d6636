"""Make `keras.models.clone_model` return a model of the same class.

Keras clones only the graph, whatever `get_config` says: the result is a bare `Functional`, which
does not preprocess images and would predict nonsense from them. A class has no hook to change
this, so the public function itself is wrapped, for models of this package only.
"""

import functools

import keras

from keras_espmedsam.errors import InputError

_PACKAGE = "keras_espmedsam>"


def clone(model):
    """Return a model of the same class and configuration, compiled alike, with new weights.

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
            "Received clone_model() for a folded model; clone the model that was folded."
        )
    cloned = type(model).from_config(model.get_config())
    if model.compiled:
        cloned.compile_from_config(model.get_compile_config())
    return cloned


def keep_class_in_clones():
    """Wrap `keras.models.clone_model` to keep the class; called when `models` is imported."""
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
                "would lose its class; give only the model, or clone "
                "keras.Model(model.input, model.output)."
            )
        return clone(model)

    clone_model.keeps_class = True
    keras.models.clone_model = clone_model
