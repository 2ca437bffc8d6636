"""Raw pictures, modalities and masks to what the segmenter trains on."""

import keras
import numpy as np
from keras_hub.models import ImageSegmenterPreprocessor

from keras_espmedsam.errors import InputError
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import PATCH_SIZE, ESPMedSAMBackbone
from keras_espmedsam.models.esp_medsam.esp_medsam_image_converter import ESPMedSAMImageConverter
from keras_espmedsam.models.host_call import host_call, rank
from keras_espmedsam.preset_registry import knows_builtin_presets


@knows_builtin_presets(has_weights=False)
@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ESPMedSAMImageSegmenterPreprocessor(ImageSegmenterPreprocessor):
    """Place image and mask alike on the model's canvas, and derive the patch target.

    Args:
        image_converter: `ESPMedSAMImageConverter`.

    Call: `x`, a dict of raw `images` `(batch, height, width, 3)` and `modalities` `(batch,)` (or
    images alone for a model of one modality); `y`, raw masks `(batch, height, width, 1)` in
    {0, 1} (or 0 to 255 in uint8), or `None`; `sample_weight`, `(batch,)` or `None`.
    Gives `x`, `(x, y)` or `(x, y, sample_weight)` with `y` a dict of `masks`,
    `(batch, height, width, 1)`, and `patches`, the masks max-pooled by 32.

    Example:
        >>> preprocessor = ESPMedSAMImageSegmenterPreprocessor(
        ...     ESPMedSAMImageConverter(image_size=(64, 64)))
        >>> x = {"images": np.zeros((2, 48, 80, 3), "uint8"), "modalities": np.array([0, 1])}
        >>> x, y = preprocessor(x, np.ones((2, 48, 80, 1)))
        >>> x["images"].shape, y["masks"].shape, y["patches"].shape
        ((2, 64, 64, 3), (2, 64, 64, 1), (2, 2, 2, 1))

    Source: ours; the patch target is ESP-MedSAM's (arXiv 2407.14153).
    """

    backbone_cls = ESPMedSAMBackbone
    image_converter_cls = ESPMedSAMImageConverter

    def __init__(self, image_converter=None, **kwargs):
        kwargs.pop("resize_output_mask", None)  # Masks always follow their image.
        super().__init__(
            image_converter=image_converter or ESPMedSAMImageConverter(),
            resize_output_mask=True,
            **kwargs,
        )
        self.built = True  # See `PictureConverter`.

    def call(self, x, y=None, sample_weight=None):
        images = x["images"] if isinstance(x, dict) else x
        if y is None:
            converted = self.image_converter.call(images)
        else:
            height, width = self.image_converter.image_size or (None, None)
            batch = (None,) if rank(images) == 4 else ()
            patched = [size and size // PATCH_SIZE for size in (height, width)]
            converted, masks, patches = host_call(
                self._convert_pair,
                (images, y),
                (
                    ("float32", (*batch, height, width, 3)),
                    ("float32", (*batch, height, width, 1)),
                    ("float32", (*batch, *patched, 1)),
                ),
            )
            y = {"masks": masks, "patches": patches}
        x = {**x, "images": converted} if isinstance(x, dict) else converted
        return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)

    def _convert_pair(self, images, masks):
        """NumPy images and raw masks to images, masks and patches on the model's canvas."""
        converted = self.image_converter.convert_batch(images)
        masks = np.asarray(masks)
        if masks.ndim == images.ndim - 1:
            masks = masks[..., None]
        if masks.shape != (*images.shape[:-1], 1):
            raise InputError(
                f"Received masks of shape {masks.shape} for images of shape {images.shape}; "
                "expected one mask (height, width, 1) of the image's own size per image."
            )
        place = self.image_converter.place(images.shape[-3:-1])
        if masks.ndim == 3:
            placed = place.forward_mask(mask_values(masks))
            return converted, placed, max_pool_patches(placed[None])[0]
        placed = np.stack([place.forward_mask(mask_values(mask)) for mask in masks])
        return converted, placed, max_pool_patches(placed)


def mask_values(mask):
    """One raw mask to float32 in [0, 1]; uint8 may also hold 0 and 255.

    Raises:
        InputError: for other values, such as a map of several labels.
    """
    values = mask.astype("float32")
    highest = values.max(initial=0)
    if mask.dtype == np.uint8 and highest == 255:
        return values / np.float32(255)
    if not (values.min(initial=0) >= 0 and highest <= 1):
        raise InputError(
            f"Received a mask of dtype {mask.dtype} with values from {mask.min():g} to "
            f"{mask.max():g}; expected 0 and 1, or 0 and 255 in uint8."
        )
    return values


def max_pool_patches(masks):
    """`(batch, height, width, 1)` to `(batch, height / 32, width / 32, 1)` by maximum.

    Raises:
        InputError: for masks that no whole patches fill.
    """
    batch, height, width, _ = masks.shape
    if height % PATCH_SIZE or width % PATCH_SIZE:
        raise InputError(
            f"Received pictures of {height} x {width} for training; expected an image_size of "
            f"multiples of {PATCH_SIZE}, such as {-(-height // PATCH_SIZE) * PATCH_SIZE} x "
            f"{-(-width // PATCH_SIZE) * PATCH_SIZE}."
        )
    tiles = masks.reshape(
        batch, height // PATCH_SIZE, PATCH_SIZE, width // PATCH_SIZE, PATCH_SIZE, 1
    )
    return tiles.max(axis=(2, 4))
