"""Shapes of a model's features, without computing them."""

import keras

# Image size to ask about if a model takes any size.
SIZE = 64


class _Probe(keras.layers.Layer):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, images, modalities):
        return self.function(images, modalities)


def feature_specs(model, function, image_size=None):
    """Return shapes and dtypes of the features that a function computes with a model.

    Args:
        model: `keras.Model` of images; a fixed input size is kept.
        function: takes `(images, modalities)`, returns a dict of tensors.
        image_size: (height, width) of the images; `None` is the model's own, or 64 x 64.

    Returns:
        dict of feature name to `keras.KerasTensor` with a batch of 1.
    """
    if image_size is None:
        inputs = model.input
        image = inputs["images"] if isinstance(inputs, dict) else inputs
        image_size = [side or SIZE for side in image.shape[1:3]]
    # Layers record calls on symbolic tensors, which would make their `output` ambiguous.
    return _Probe(function).compute_output_spec(
        keras.KerasTensor((1, *image_size, 3), "float32"), keras.KerasTensor((1,), "int32")
    )
