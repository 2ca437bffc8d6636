"""Predict how good each mask is: the Dice that it would have with the truth."""

import keras
import numpy as np
from keras import ops

from keras_espmedsam.imaging.mask_statistic_names import STATISTICS
from keras_espmedsam.ops.device_constant import device_constant
from keras_espmedsam.ops.mask_statistics import mask_statistics


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class MaskQuality(keras.layers.Layer):
    """Predict the Dice of each mask from its own probabilities, by logistic regression.

    It has no weights to train: its coefficients are fitted afterwards, on labelled images, by
    `keras_espmedsam.evaluation.fit_quality`.

    Args:
        coefficients: tuple of tuple of tuple of float. For each modality and channel, an offset
            and a factor of each of the statistics of `keras_espmedsam.ops.mask_statistics`; empty
            for a channel without a prediction. As many channels for each modality.

    Input: logits `(batch, height, width, channels)` and `modalities`, `(batch,)` int, or `None`
    with a single modality.
    Output shape: `(batch, channels)` float32, from 0 to 1; 0 for a channel without a prediction.

    Example:
        >>> layer = MaskQuality([[(2.0, 0.5, 0.0, 0.0, 0.0, 0.0)]])
        >>> sure, unsure = (layer(np.full((1, 8, 8, 1), logit, "float32")) for logit in (9, 0.1))
        >>> bool(sure[0, 0] > unsure[0, 0])
        True

    Source: predicting a mask's quality without the truth, arXiv 1702.03407; from the model's own
    uncertainty, arXiv 1807.00502. The statistics are this project's.
    """

    def __init__(self, coefficients, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.coefficients = tuple(
            tuple(tuple(map(float, one)) for one in channels) for channels in coefficients
        )
        counts = {len(channels) for channels in self.coefficients}
        lengths = {len(one) for channels in self.coefficients for one in channels}
        if len(counts) != 1 or not lengths <= {0, len(STATISTICS) + 1}:
            raise ValueError(
                f"MaskQuality received coefficients of {sorted(counts)} channels and "
                f"{sorted(lengths)} numbers; expected as many channels for each modality, and "
                f"{len(STATISTICS) + 1} numbers or none for each."
            )
        self.built = True

    def call(self, logits, modalities=None):
        statistics = mask_statistics(logits)
        table = device_constant(_table, self.coefficients, like=statistics)
        if len(self.coefficients) > 1:
            table = ops.take(table, modalities, axis=0)
        offset, factors, fitted = table[..., 0], table[..., 1:-1], table[..., -1]
        return fitted * ops.sigmoid(offset + ops.sum(factors * statistics, axis=-1))

    def compute_output_spec(self, logits, modalities=None):
        return keras.KerasTensor((logits.shape[0], logits.shape[3]), dtype="float32")

    def get_config(self):
        return {**super().get_config(), "coefficients": self.coefficients}


def _table(coefficients):
    """Return the coefficients, each row followed by 1 if it was fitted, and 0 if not."""
    empty = (0.0,) * (len(STATISTICS) + 2)
    rows = [[(*one, 1.0) if one else empty for one in channels] for channels in coefficients]
    return np.array(rows, "float32")
