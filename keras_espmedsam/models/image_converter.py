"""Convert raw images to normalised model inputs of one size: the converters' common base."""

from typing import TYPE_CHECKING

import keras
import numpy as np
from keras_hub.layers import ImageConverter

from keras_espmedsam._renamed import old_attribute
from keras_espmedsam._shown import shown_value
from keras_espmedsam.hub.sizes import check_sizes
from keras_espmedsam.imaging.arrays import as_array
from keras_espmedsam.imaging.brightness import is_brightness
from keras_espmedsam.imaging.host_call import host_call
from keras_espmedsam.imaging.intensity import AUTO, parse_intensity
from keras_espmedsam.imaging.pixels import rgb_brightness, to_rgb
from keras_espmedsam.imaging.placement import RESIZE_MODES, Placement
from keras_espmedsam.imaging.raw_batch import image_rows, is_batch, stack_canvases

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
# The released code divides by the mean, and its weights need that; those of SAM and MobileSAM need
# the standard deviation.
NORMALIZATIONS = {"imagenet": (MEAN, STD), "released": (MEAN, MEAN)}


class HostImageConverter(ImageConverter):
    """Resize, pad and normalise images, without cropping. The base of the models' converters.

    All work is done on the host by NumPy and Pillow, also inside a tf.data or grain pipeline, so
    that all three backends see the same numbers.

    Args:
        image_size: (height, width), multiples of the class's `size_multiple`, or `None` to keep
            the size and pad it to multiples of 32.
        resize_mode: `"pad"` keeps the aspect ratio and pads at the right and bottom with the
            mean colour; `"stretch"` changes the aspect ratio.
        normalization: `"imagenet"`, (x - mean) / std, or `"released"`, (x - mean) / mean, which
            the published ESP-MedSAM checkpoints expect.
        intensity: which values are black and white: `"auto"`, as the file says, otherwise the
            range of its bits or of its values; `"full"`, the range of its bits; or a pair of
            values. A value given for a single image takes precedence. Floats in [0, 1] are taken
            as brightness.

    Call: an image as `to_rgb` takes it, or several: `(batch, height, width, channels)` or a list
    of images of any sizes. Returns float32 images of the model's size.

    Source: normalisations from SAM and from the released code.
    """

    size_multiple = 1

    def __init__(
        self,
        image_size=None,
        resize_mode="pad",
        normalization="imagenet",
        intensity=AUTO,
        **kwargs,
    ):
        # In an untrusted preset either may be a list, which cannot be looked up in a dict.
        if not isinstance(resize_mode, str) or resize_mode not in RESIZE_MODES:
            raise ValueError(
                f"Received resize_mode={shown_value(resize_mode)}; expected {RESIZE_MODES}."
            )
        if not isinstance(normalization, str) or normalization not in NORMALIZATIONS:
            raise ValueError(
                f"Received normalization={shown_value(normalization)}; expected "
                f"{tuple(NORMALIZATIONS)}."
            )
        kwargs["data_format"] = "channels_last"  # Whatever keras.json says.
        super().__init__(image_size=check_image_size(image_size, self.size_multiple), **kwargs)
        # keras-hub's own, not used here, but it must be built: if any part of a task is unbuilt,
        # Keras on JAX first runs the whole model operation by operation.
        self.resizing.build((None, None, None, 3))
        self.resize_mode = resize_mode
        self.normalization = normalization
        self.intensity = parse_intensity(intensity) or AUTO

    def place(self, size):
        """Return the `Placement` of an image of `(height, width)` pixels on the model's canvas."""
        return Placement.of(size, self.image_size, self.resize_mode)

    def at_size(self, image_size):
        """Return a converter that differs in its size alone, which is that of all modalities."""
        config = {**self.get_config(), "image_size": image_size}
        config.pop("image_sizes", None)  # ESPMedSAMImageConverter's, of single modalities.
        return type(self).from_config(config)

    def convert(self, image):
        """Convert one image from `read` or `read_brightness` to `(*canvas, 3)`, normalised."""
        mean, divisor = (np.array(v, "float32") for v in NORMALIZATIONS[self.normalization])
        place = self.place(image.shape[:2])
        # Resizing before normalising gives the same result and is cheaper for a large image;
        # the padding becomes 0, the mean colour.
        return (place.forward(image, fill=mean, white=255) - mean) / divisor

    def read(self, image, intensity=None):
        """Convert one image of any kind that `to_rgb` takes to `(height, width, 3)` in [0, 1]."""
        return to_rgb(*self._to_read(image, intensity))

    def read_brightness(self, image, intensity=None):
        """Return the input of `read`'s last step: uint8, uint16 or float32, 1 or 3 channels."""
        if type(self).read is not HostImageConverter.read:  # Overridden by a subclass.
            return self.read(image, intensity)
        return rgb_brightness(*self._to_read(image, intensity))

    def _to_read(self, image, intensity):
        image = as_array(image)
        if intensity is None:
            # The preset's range is of stored values; floats in [0, 1] are already brightness, as
            # the file readers return it.
            intensity = AUTO if is_brightness(image) else self.intensity
        return image, intensity

    def convert_batch(self, images, intensity=None):
        """Convert one raw image, a batch or a list of them to the model's input, as NumPy."""
        rows, several = image_rows(images)
        converted = [self.convert(self.read_brightness(image, intensity)) for image in rows]
        return stack_canvases(converted) if several else converted[0]

    def call(self, inputs):
        height, width = self.image_size or (None, None)
        shape = (None, height, width, 3) if is_batch(inputs) else (height, width, 3)
        return host_call(self.convert_batch, (inputs,), (("float32", shape),))[0]

    def get_config(self):
        config = keras.layers.Layer.get_config(self)
        return {
            **config,
            "image_size": self.image_size,
            "resize_mode": self.resize_mode,
            "normalization": self.normalization,
            "intensity": self.intensity,
        }


def check_image_size(image_size, multiple):
    """Return `(height, width)` as ints, or `None`; raise for sizes that the model cannot take."""
    if image_size is None:
        return None
    check_sizes("The image converter", image_size=image_size)
    size = tuple(int(s) for s in image_size)
    if len(size) != 2 or any(s < multiple or s % multiple for s in size):
        wanted = f"both multiples of {multiple}" if multiple > 1 else "both at least 1"
        raise ValueError(
            f"Received image_size={shown_value(image_size)}; expected (height, width), "
            f"{wanted}, or None."
        )
    return size


# Hidden from type checkers, so that they still report unknown names.
if not TYPE_CHECKING:

    def __getattr__(name):
        return old_attribute(__name__, name)
