"""Keep the statistics of BatchNorm while a segmenter is trained."""

import keras

from keras_espmedsam.models.model_layers import model_layers


def freeze_batch_norm(segmenter):
    """Freeze every BatchNorm layer: its mean, variance, scale and offset stay as they are.

    A pretrained encoder brings statistics of many images. Those of small batches, in which cameras
    and modalities are mixed by chance, are worse, and computing them costs time in every step. Call
    it before `compile`, and after `select_trainable`, which starts over.

    Args:
        segmenter: `ESPMedSAMImageSegmenter`, `ESPMedSAMBackbone` or another `keras.Model`.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.BatchNormalization()])
        >>> freeze_batch_norm(model)
        >>> len(model.trainable_variables)
        0

    Source: frozen BatchNorm of fine-tuned detectors, as in Faster R-CNN with ResNet
    (arXiv 1512.03385, appendix A).
    """
    for layer in model_layers(segmenter):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
