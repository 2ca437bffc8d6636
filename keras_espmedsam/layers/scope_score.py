"""Tell how unlike an image is to those of its modality, by the image's embedding."""

import keras
import numpy as np
from keras import ops

from keras_espmedsam.ops.device_constant import device_constant
from keras_espmedsam.ops.embedding_statistics import embedding_statistics


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ScopeScore(keras.layers.Layer):
    """Score each image by a logistic regression on the mean and spread of its embedding.

    It has no weights to train: its coefficients are fitted afterwards, on images of the modality
    and others, by `keras_espmedsam.evaluation.fit_scope`.

    Args:
        coefficients: tuple of tuple of float. For each modality an offset, and a factor of the mean
            of each channel of the embedding and of its standard deviation over the image; empty
            for a modality without a score.

    Input: embeddings `(batch, height, width, channels)` and `modalities`, `(batch,)` int, or `None`
    with a single modality.
    Output shape: `(batch,)` float32, from 0 to 2, the larger the more unlike: twice the logistic
    function, so that 1 is where it is undecided. 0 for a modality without a score.

    Example:
        >>> layer = ScopeScore([(0.0, 1.0, 0.0)])
        >>> dark, bright = (layer(np.full((1, 4, 4, 1), one, "float32")) for one in (-2, 2))
        >>> bool(dark[0] < 1), bool(bright[0] > 1)
        (True, True)

    Source: outliers that are known in training, arXiv 1812.04606, with features of the network,
    arXiv 1807.03888; the regression is this project's.
    """

    def __init__(self, coefficients, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.coefficients = tuple(tuple(map(float, one)) for one in coefficients)
        lengths = {len(one) for one in self.coefficients} - {0}
        if len(lengths) != 1 or not max(lengths) % 2:
            raise ValueError(
                f"ScopeScore received {sorted(lengths)} coefficients of a modality; expected an "
                "offset and two for each channel of the embedding, or none, and as many for each."
            )
        self.built = True

    def call(self, embeddings, modalities=None):
        statistics = embedding_statistics(embeddings)
        table = device_constant(_table, self.coefficients, like=statistics)
        if len(self.coefficients) > 1:
            table = ops.take(table, modalities, axis=0)
        offset, factors, fitted = table[..., 0], table[..., 1:-1], table[..., -1]
        return 2 * fitted * ops.sigmoid(offset + ops.sum(factors * statistics, axis=-1))

    def compute_output_spec(self, embeddings, modalities=None):
        return keras.KerasTensor((embeddings.shape[0],), dtype="float32")

    def get_config(self):
        return {**super().get_config(), "coefficients": self.coefficients}


def _table(coefficients):
    """Return the coefficients, each row followed by 1 if it was fitted, and 0 if not."""
    width = max(map(len, coefficients))
    rows = [(*one, 1.0) if one else (0.0,) * (width + 1) for one in coefficients]
    return np.array(rows, "float32")
