"""The adapter half of a modality controller: a small MLP per modality."""

import keras
from keras import ops

from keras_espmedsam.layers.activations import gelu
from keras_espmedsam.layers.modality_variables import select_modality, variables_per_modality

LAYER_NORM_EPSILON = 1e-5


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ModalityAdapter(keras.layers.Layer):
    """Layer normalisation, dense, GELU and dense, with the weights of each sample's modality.

    Its output is added in parallel to the MLP of a transformer block. A batch may mix modalities.

    Args:
        num_modalities: int. Number of adapters.
        hidden_dim: int. Width between the two dense layers.
        zero_init: bool. Initialise the last dense layer with zeros, so that an untrained adapter
            leaves the network unchanged (the release initialises it randomly).

    Input: `x`, `(batch, height, width, channels)`; `modalities`, `(batch,)` int, or `None` when
    `num_modalities` is 1.
    Output shape: that of `x`.

    Example:
        >>> adapter = ModalityAdapter(num_modalities=6, hidden_dim=32)
        >>> tuple(adapter(np.ones((2, 4, 4, 8)), np.array([0, 3])).shape)
        (2, 4, 4, 8)

    Source: ESP-MedSAM (arXiv 2407.14153), modality controller.
    """

    def __init__(self, num_modalities, hidden_dim, zero_init=False, **kwargs):
        super().__init__(**kwargs)
        self.num_modalities = num_modalities
        self.hidden_dim = hidden_dim
        self.zero_init = zero_init

    def build(self, input_shape):
        channels, hidden = input_shape[-1], self.hidden_dim
        shapes = {
            "norm_gamma": (channels,),
            "norm_beta": (channels,),
            "dense_1_kernel": (channels, hidden),
            "dense_1_bias": (hidden,),
            "dense_2_kernel": (hidden, channels),
            "dense_2_bias": (channels,),
        }
        self.adapters = variables_per_modality(
            self.num_modalities, shapes, self._initializers, self.dtype_policy
        )
        self.built = True

    def _initializers(self):
        last = keras.initializers.Zeros if self.zero_init else keras.initializers.GlorotUniform
        return {
            "norm_gamma": keras.initializers.Ones(),
            "dense_1_kernel": keras.initializers.GlorotUniform(),
            "dense_2_kernel": last(),
        }

    def call(self, x, modalities=None):
        return self.adapt(x, self.own_weights(modalities))

    def own_weights(self, modalities):
        """Return a dict of name to each sample's own weight, for `adapt`."""
        return {
            name: select_modality(
                [ops.cast(adapter[name], self.compute_dtype) for adapter in self.adapters],
                modalities,
            )
            for name in self.adapters[0].shapes
        }

    def adapt(self, x, own):
        """Like `call`, with weights from `own_weights`; `x` may be a part of the map."""
        batch, height, width, channels = ops.shape(x)
        tokens = ops.reshape(x, (batch, height * width, channels))
        normed = ops.layer_normalization(tokens, epsilon=LAYER_NORM_EPSILON)
        y = normed * own["norm_gamma"][:, None, :] + own["norm_beta"][:, None, :]
        y = ops.matmul(y, own["dense_1_kernel"]) + own["dense_1_bias"][:, None, :]
        y = gelu(y, overwrite=True)
        y = ops.matmul(y, own["dense_2_kernel"]) + own["dense_2_bias"][:, None, :]
        return ops.reshape(y, (batch, height, width, channels))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_modalities": self.num_modalities,
            "hidden_dim": self.hidden_dim,
            "zero_init": self.zero_init,
        }
