"""The adapter of the medical teacher: two small MLPs in sequence."""

import keras

from keras_espmedsam.layers.mlp import MLP

# Widths relative to the channels: the common adapter widens, the specific one narrows.
COMMON_RATIO, SPECIFIC_RATIO = 2, 0.25
SCALE = 0.5


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ParallelAdapter(keras.layers.Layer):
    """Dense d to 2d to d, then d to d/4 to d, each with a GELU inside; the result is halved.

    Its output is added in parallel to the MLP of a transformer block, with the same normalised
    input.

    Args:
        zero_init: bool. Initialise the last dense layer with zeros, so that an untrained adapter
            leaves the network unchanged (UN-SAM initialises it randomly).

    Input: `(..., channels)`. Output shape: that of the input.

    Example:
        >>> adapter = ParallelAdapter(zero_init=True)
        >>> bool(keras.ops.any(adapter(np.ones((1, 4, 4, 8)))))
        False

    Source: UN-SAM (arXiv 2402.16663), released code, the sibling of ESP-MedSAM
    (arXiv 2407.14153), whose figure shows it in the medical teacher. Departs from UN-SAM: one
    adapter serves all domains, not one each.
    """

    def __init__(self, zero_init=False, **kwargs):
        super().__init__(**kwargs)
        self.zero_init = zero_init

    def build(self, input_shape):
        channels = input_shape[-1]
        self.common, self.specific = (
            MLP(
                (int(channels * ratio), channels),
                activation="gelu",
                zero_init=zero_init,
                name=name,
                dtype=self.dtype_policy,
            )
            for name, ratio, zero_init in (
                ("common", COMMON_RATIO, False),
                ("specific", SPECIFIC_RATIO, self.zero_init),
            )
        )
        self.common.build(input_shape)
        self.specific.build(input_shape)
        self.built = True

    def call(self, x):
        return SCALE * self.specific(self.common(x))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "zero_init": self.zero_init}
