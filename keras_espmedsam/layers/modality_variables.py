"""Weights that belong to one modality, and their selection per sample."""

import keras
import numpy as np
from keras import ops

from keras_espmedsam.ops.device_constant import device_constant


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ModalityVariables(keras.layers.Layer):
    """The weights of one modality inside one layer.

    Each modality's weights are separate variables, never rows of a shared one, so that freezing,
    optimising, saving or adding a modality cannot affect another. Each variable has the modality's
    index as its attribute `modality`, which `DecoupledOptimizer` reads.

    Args:
        shapes: dict of str to tuple of int. Name and shape of each weight.
        initializers: dict of str to Keras initializer. Missing names are initialised with zeros.
        modality: int. Index of the modality.

    Example:
        >>> weights = ModalityVariables({"bias": (4,)})
        >>> weights.build()
        >>> tuple(weights["bias"].shape)
        (4,)
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


def variables_per_modality(number, shapes, initializers, dtype):
    """Build the weights of each modality in a layer.

    Args:
        number: int. Number of modalities.
        shapes: as `ModalityVariables` takes them.
        initializers: function without arguments that returns what `ModalityVariables` takes. It is
            called for each modality, so that their random values differ.
        dtype: dtype policy of the layer.

    Returns:
        list of `ModalityVariables`.

    Example:
        >>> tokens = variables_per_modality(2, {"token": (4,)}, dict, "float32")
        >>> [token.name for token in tokens]
        ['modality_0', 'modality_1']
    """
    found = []
    for k in range(number):
        weights = ModalityVariables(
            shapes, initializers(), modality=k, name=f"modality_{k}", dtype=dtype
        )
        weights.build()
        found.append(weights)
    return found


def select_modality(values, modalities):
    """Select each sample's value from one value per modality.

    Args:
        values: list of tensors of one shape, one per modality.
        modalities: int tensor `(batch,)`, or `None` if there is a single modality.

    Returns:
        Tensor `(batch, *shape)`; with a single modality `(1, *shape)`, which broadcasts.
    """
    if len(values) == 1:
        return ops.expand_dims(values[0], 0)
    return ops.take(ops.stack(values, axis=0), modalities, axis=0)


def select_flags(rows, modalities):
    """Select each sample's row of a table of flags.

    Args:
        rows: a row of bool per modality.
        modalities: int tensor `(batch,)`; not read if there is a single modality.

    Returns:
        bool tensor `(batch, 1, 1, flags)`, or `None` if all flags are true.

    Example:
        >>> flags = select_flags([[True, True], [True, False]], np.array([1, 0, 1]))
        >>> keras.ops.convert_to_numpy(flags)[:, 0, 0].tolist()
        [[True, False], [True, True], [True, False]]
    """
    if all(map(all, rows)):
        return None
    modalities = ops.convert_to_tensor(modalities)
    table = device_constant(_flags, tuple(map(tuple, rows)), like=modalities)
    return ops.take(table, modalities, axis=0)[:, None, None]


def used_channels(counts, modalities):
    """Select the flags of the channels that each sample uses: the first of its modality's `counts`.

    Example:
        >>> keras.ops.convert_to_numpy(used_channels((2, 1), np.array([1])))[:, 0, 0].tolist()
        [[True, False]]
    """
    rows = [[i < count for i in range(max(counts))] for count in counts]
    return select_flags(rows, modalities)


def _flags(rows):
    return np.array(rows, "bool")
