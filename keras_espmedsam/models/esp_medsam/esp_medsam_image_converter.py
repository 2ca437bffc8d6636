"""Convert raw images to inputs of ESP-MedSAM."""

from collections.abc import Mapping

import keras

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.from_preset import knows_builtin_presets
from keras_espmedsam.imaging.intensity import AUTO
from keras_espmedsam.imaging.placement import SIZE_MULTIPLE
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import ESPMedSAMBackbone
from keras_espmedsam.models.image_converter import HostImageConverter, check_image_size


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
        image_sizes: dict of modality to the (height, width) at which `segment` sees its images,
            where that is not `image_size`: thin vessels need more pixels than a mole. Empty by
            default.

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

    def __init__(
        self,
        image_size=None,
        resize_mode="pad",
        normalization="imagenet",
        intensity=AUTO,
        image_sizes=None,
        **kwargs,
    ):
        super().__init__(image_size, resize_mode, normalization, intensity, **kwargs)
        self.image_sizes = image_sizes

    @property
    def image_sizes(self):
        """dict of modality to (height, width), of those that are not segmented at `image_size`.

        Empty as long as `image_size` is `None`.
        """
        return {} if self.image_size is None else dict(self._image_sizes())

    @image_sizes.setter
    def image_sizes(self, sizes):
        sizes = {} if sizes is None else sizes
        if not isinstance(sizes, Mapping) or not all(isinstance(name, str) for name in sizes):
            raise InputError(
                f"Received image_sizes={shown_value(sizes)}; expected a dict of modality to "
                '(height, width), such as {"fundus": (512, 512)}.'
            )
        checked = {}
        for name, size in sizes.items():
            if size is None or self.image_size is None:
                raise InputError(
                    f"Received image_sizes={shown_value(sizes)} with image_size="
                    f"{self.image_size}; a modality can have a size of its own where both are "
                    "(height, width)."
                )
            checked[name] = check_image_size(size, self.size_multiple)
        # A function, since Keras would wrap a dict in an attribute.
        self._image_sizes = lambda: checked

    def for_modality(self, modality):
        """Return the converter of one modality's images: this one, or one of another `image_size`.

        Args:
            modality: str.

        Example:
            >>> converter = ESPMedSAMImageConverter((64, 64), image_sizes={"fundus": (96, 96)})
            >>> converter.for_modality("fundus").image_size
            (96, 96)
            >>> converter.for_modality("xray") is converter
            True
        """
        size = self.image_sizes.get(modality, self.image_size)
        return self if size == self.image_size else self.at_size(size)

    def get_config(self):
        config = super().get_config()
        if self.image_sizes:  # Left out by default, so that version 0.1.0 loads such presets.
            config["image_sizes"] = self.image_sizes
        return config
