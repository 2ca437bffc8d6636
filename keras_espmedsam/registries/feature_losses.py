"""Distances between a student's and a teacher's features, as `losses[].loss` names them.

An entry is a class derived from `keras.losses.Loss`, made without arguments: features
`(batch, height, width, channels)` of teacher and student in. It is registered with Keras, too
(`keras.saving.register_keras_serializable`), so that what names it can be loaded again.
"""

from keras_espmedsam.registries.registry import Registry

feature_losses = Registry(
    "feature_losses",
    "feature loss",
    {
        "mse": "keras_espmedsam.losses.embedding_mse:EmbeddingMSE",
        "cosine": "keras_espmedsam.losses.cosine_embedding_loss:CosineEmbeddingLoss",
        "normalized_mse": "keras_espmedsam.losses.normalized_mse:NormalizedMSE",
    },
)
