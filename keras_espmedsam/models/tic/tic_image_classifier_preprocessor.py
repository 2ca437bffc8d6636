"""Prepare raw images and labels for training the classifier."""

import keras
from keras_hub.models import ImageClassifierPreprocessor

from keras_espmedsam.hub.from_preset import knows_builtin_presets
from keras_espmedsam.models.tic.tic_backbone import TiCBackbone
from keras_espmedsam.models.tic.tic_image_converter import TiCImageConverter


@knows_builtin_presets(has_weights=False)
@keras.saving.register_keras_serializable(package="keras_espmedsam")
class TiCImageClassifierPreprocessor(ImageClassifierPreprocessor):
    """Resize and normalise images; labels and sample weights pass through.

    Args:
        image_converter: `TiCImageConverter`; `None` keeps each image's size.

    Call: `x`, raw images `(batch, height, width, channels)` or a list of images of any sizes, or a
    dict of them as `images`; `y`, labels or `None`; `sample_weight`, `(batch,)` or `None`. Returns
    `x`, `(x, y)` or `(x, y, sample_weight)`.

    Example:
        >>> preprocessor = TiCImageClassifierPreprocessor(TiCImageConverter(image_size=(64, 64)))
        >>> x, y = preprocessor(np.zeros((2, 48, 80, 3), "uint8"), np.array([0, 3]))
        >>> x.shape, y.tolist()
        ((2, 64, 64, 3), [0, 3])
    """

    backbone_cls = TiCBackbone
    image_converter_cls = TiCImageConverter

    def __init__(self, image_converter=None, **kwargs):
        super().__init__(image_converter=image_converter or TiCImageConverter(), **kwargs)
        self.built = True  # See `HostImageConverter`.

    def call(self, x, y=None, sample_weight=None):
        images = x["images"] if isinstance(x, dict) else x
        converted = self.image_converter.call(images)
        return keras.utils.pack_x_y_sample_weight(converted, y, sample_weight)
