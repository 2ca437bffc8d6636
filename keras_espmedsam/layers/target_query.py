"""The query of a further target of a modality, with its own hyper-network and adapter."""

import keras

from keras_espmedsam.layers.mlp import MLP


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class TargetQuery(keras.layers.Layer):
    """The weights that belong to one target alone, except for a modality's first target.

    Each variable has the modality's index as its attribute `modality` and the target's channel as
    `target`, which `DecoupledOptimizer` reads.

    Args:
        modality: int. Index of the modality.
        target: int. The target's channel, from 1.
        adapter_dim: int. Hidden width of an adapter of the image features, 0 for none.

    Call: queries `(batch, 1, channels)` to dot-product weights `(batch, 1, channels // 8)`,
    float32.

    Example:
        >>> layer = TargetQuery(modality=2, target=1)
        >>> layer.build((None, None, 32))
        >>> tuple(layer(np.zeros((2, 1, 32))).shape), layer.query.target
        ((2, 1, 4), 1)
    """

    def __init__(self, modality, target, adapter_dim=0, **kwargs):
        super().__init__(**kwargs)
        self.modality = modality
        self.target = target
        self.adapter_dim = adapter_dim

    def build(self, input_shape):
        channels = input_shape[-1]
        # A PyTorch Embedding's initial values, as SAM's tokens.
        self.query = self.add_weight(
            shape=(channels,),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            name="query",
        )
        # The head: float32 under every dtype policy.
        self.hypernetwork = MLP(
            (channels, channels, channels // 8), name="hypernetwork", dtype="float32"
        )
        self.hypernetwork.build((None, None, channels))
        self.down = self.down_bias = self.up = None
        if self.adapter_dim:
            width, dim = channels // 8, self.adapter_dim
            self.down = self.add_weight(
                shape=(width, dim), initializer="glorot_uniform", name="down", dtype="float32"
            )
            self.down_bias = self.add_weight(
                shape=(dim,), initializer="zeros", name="down_bias", dtype="float32"
            )
            # Zeros: a new adapter changes nothing.
            self.up = self.add_weight(
                shape=(dim, width), initializer="zeros", name="up", dtype="float32"
            )
        for variable in self.weights:
            variable.modality = self.modality
            variable.target = self.target
        self.built = True

    def call(self, queries):
        return self.hypernetwork(queries)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // 8)

    def get_config(self):
        return {
            **super().get_config(),
            "modality": self.modality,
            "target": self.target,
            "adapter_dim": self.adapter_dim,
        }
