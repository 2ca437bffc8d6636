"""Weights that belong to one modality, and their choice per sample."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ModalityVariables(keras.layers.Layer):
    """The weights of one modality inside one layer.

    Each modality's weights are variables of their own, never rows of a shared one, so that
    freezing, optimising, saving or adding a modality cannot touch another. Each carries the
    modality's index as its attribute `modality`, by which `DecoupledOptimizer` knows it.

    Args:
        shapes: dict of str to tuple of int. Name and shape of each weight.
        initializers: dict of str to Keras initializer. Missing names start at zero.
        modality: int. Index of the modality.

    Example:
        >>> weights = ModalityVariables({"bias": (4,)})
        >>> weights.build()
        >>> tuple(weights["bias"].shape)
        (4,)

    Source: ours.
    """

    def __init__(self, shapes, initializers=None, modality=0, **kwargs):
        super().__init__(**kwargs)
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.initializers = {
            name: keras.initializers.get(value) for name, value in (initializers or {}).items()
        }
        self.modality = modality

    def build(self, input_shape=None):
        self.by_name = {}
        for name, shape in self.shapes.items():
            variable = self.add_weight(
                shape=shape, initializer=self.initializers.get(name, "zeros"), name=name
            )
            variable.modality = self.modality
            self.by_name[name] = variable
        self.built = True

    def __getitem__(self, name):
        return self.by_name[name]

    def get_config(self):
        return {
            **super().get_config(),
            "shapes": self.shapes,
            "initializers": {
                name: keras.initializers.serialize(value)
                for name, value in self.initializers.items()
            },
            "modality": self.modality,
        }


def select_modality(values, modalities):
    """Choose each sample's own value among one value per modality.

    Args:
        values: list of tensors of one shape, one per modality.
        modalities: int tensor `(batch,)`, or `None` where there is a single modality.

    Returns:
        Tensor `(batch, *shape)`; with a single modality `(1, *shape)`, which broadcasts.
    """
    if len(values) == 1:
        return ops.expand_dims(values[0], 0)
    return ops.take(ops.stack(values, axis=0), modalities, axis=0)
