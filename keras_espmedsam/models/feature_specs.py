"""The shapes of a model's features, without computing them."""

import keras

# Pixels of the image that is asked about where a model takes any size.
SIZE = 64


class _Probe(keras.layers.Layer):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, images, modalities):
        return self.function(images, modalities)


def feature_specs(model, function, image_size=None):
    """Shapes and dtypes of the features that a function gives of a model.

    Args:
        model: `keras.Model` from images; its fixed input size is kept.
        function: of `(images, modalities)`, giving a dict of tensors.
        image_size: (height, width) of the images; `None` is the model's own, or 64 x 64.

    Returns:
        dict of feature name to `keras.KerasTensor` with a batch of 1.

    Source: ours.
    """
    if image_size is None:
        inputs = model.input
        image = inputs["images"] if isinstance(inputs, dict) else inputs
        image_size = [side or SIZE for side in image.shape[1:3]]
    # Layers called on symbolic tensors would note the call, and their `output` become ambiguous.
    return _Probe(function).compute_output_spec(
        keras.KerasTensor((1, *image_size, 3), "float32"), keras.KerasTensor((1,), "int32")
    )
