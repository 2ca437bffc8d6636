"""Convert raw images to inputs of ESP-MedSAM."""

import keras

from keras_espmedsam.hub.from_preset import knows_builtin_presets
from keras_espmedsam.imaging.placement import SIZE_MULTIPLE
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import ESPMedSAMBackbone
from keras_espmedsam.models.image_converter import HostImageConverter


@knows_builtin_presets(has_weights=False)
@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ESPMedSAMImageConverter(HostImageConverter):
    """Resize, pad and normalise images, without cropping.

    All work is done on the host by NumPy and Pillow, also inside a tf.data or grain pipeline, so
    that all three backends see the same numbers.

    Args:
        image_size: (height, width), multiples of 32, or `None` to keep the size and pad it to
            multiples of 32.
        resize_mode: `"pad"` keeps the aspect ratio and pads at the right and bottom with the
            mean colour; `"stretch"` changes the aspect ratio.
        normalization: `"imagenet"`, (x - mean) / std, or `"released"`, (x - mean) / mean, which
            the published ESP-MedSAM checkpoints expect.
        intensity: which values are black and white: `"auto"`, `"full"` or a pair of values; see
            `keras_espmedsam.data.read_images`.

    Call: an image as `to_rgb` takes it, or several: `(batch, height, width, channels)` or a list
    of images of any sizes. Returns float32 images of the model's size.

    Example:
        >>> converter = ESPMedSAMImageConverter(image_size=(256, 256))
        >>> converter(np.zeros((2, 288, 384, 3), "uint8")).shape
        (2, 256, 256, 3)

    Source: normalisations from SAM and from the released code.
    """

    backbone_cls = ESPMedSAMBackbone
    size_multiple = SIZE_MULTIPLE
