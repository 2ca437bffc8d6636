"""Convert raw images to inputs of TiC."""

import keras

from keras_espmedsam.hub.from_preset import knows_builtin_presets
from keras_espmedsam.models.image_converter import HostImageConverter
from keras_espmedsam.models.tic.tic_backbone import TiCBackbone


@knows_builtin_presets(has_weights=False)
@keras.saving.register_keras_serializable(package="keras_espmedsam")
class TiCImageConverter(HostImageConverter):
    """Resize, pad and normalise images for TiC, which takes every size.

    The work is done on the host, as in `ESPMedSAMImageConverter`.

    Args:
        image_size: (height, width), at least 1, or `None` to keep the size and pad it to multiples
            of 32.
        resize_mode: `"stretch"` changes the aspect ratio, so that it does not reveal the class;
            `"pad"` keeps it and pads at the right and bottom with the mean colour.
        normalization: `"imagenet"`, (x - mean) / std, or `"released"`, (x - mean) / mean.
        intensity: which values are black and white: `"auto"`, `"full"` or a pair of values; see
            `keras_espmedsam.data.read_images`.

    Call: an image as `to_rgb` takes it, or several: `(batch, height, width, channels)` or a list
    of images of any sizes. Returns float32 images of the model's size.

    Raises:
        ValueError: for a size below 1, or an unknown mode or normalisation.
        InputError: in the call, for another shape, dtype or range of values.

    Example:
        >>> converter = TiCImageConverter(image_size=(128, 100))
        >>> converter(np.zeros((2, 288, 384, 1), "uint8")).shape
        (2, 128, 100, 3)
    """

    backbone_cls = TiCBackbone

    def __init__(self, image_size=None, resize_mode="stretch", normalization="imagenet", **kwargs):
        super().__init__(image_size, resize_mode, normalization, **kwargs)
