"""Raw images, modalities and masks to what the segmenter trains on."""

import keras
import numpy as np
from keras_hub.models import ImageSegmenterPreprocessor
from PIL import Image

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.from_preset import knows_builtin_presets
from keras_espmedsam.imaging.arrays import as_array
from keras_espmedsam.imaging.host_call import host_call, rank
from keras_espmedsam.imaging.mask_colours import mask_array

# `mask_values` was defined here, and is imported from here by programs that were written for it.
from keras_espmedsam.imaging.mask_values import (  # noqa: F401
    foreground_scale,
    mask_values,
    unit_mask,
)
from keras_espmedsam.imaging.raw_batch import (
    image_rows,
    is_batch,
    rows_of,
    stack_canvases,
)
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import PATCH_SIZE, ESPMedSAMBackbone
from keras_espmedsam.models.esp_medsam.esp_medsam_image_converter import ESPMedSAMImageConverter
from keras_espmedsam.models.esp_medsam.pixel_weights import (
    place_weighted,
    pool_weighted,
    weight_map,
    weights_as,
)
from keras_espmedsam.models.sample_weights import image_weights

# Foreground of one mask and of another: 1, and the most of 8 and of 16 bits.
_WHOLE = (1.0, 255.0, 65535.0)


@knows_builtin_presets(has_weights=False)
@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ESPMedSAMImageSegmenterPreprocessor(ImageSegmenterPreprocessor):
    """Place image and mask alike on the model's canvas, and derive the patch target.

    Args:
        image_converter: `ESPMedSAMImageConverter`.

    Call: `x`, a dict of raw `images` and `modalities` `(batch,)` (or images alone for a model of
    one modality), where images are `(batch, height, width, channels)` or a list of images of any
    sizes; `y`, masks of the images' own sizes, `(batch, height, width[, 1])` or a list of them, in
    {0, 1} (or 0 to 255 in uint8), or `None`; `sample_weight`, or `None`: `(batch,)`, or one per
    pixel, `(batch, height, width[, 1])` or a list of maps of the images' own sizes, or a dict of
    these as `masks` and, if the patches are to have weights of their own, of `patches`.
    Gives `x`, `(x, y)` or `(x, y, sample_weight)` with `y` a dict of `masks`,
    `(batch, height, width, 1)`, and `patches`, the masks max-pooled by 32. Weights per pixel
    become a dict as `y`; a pixel of weight 0 then has no part in the masks of the canvas and in
    the patches either, and padding, which is background, has the image's mean weight.

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
        self.built = True  # See `HostImageConverter`.

    def call(self, x, y=None, sample_weight=None):
        images = x["images"] if isinstance(x, dict) else x
        if y is None:
            converted = self.image_converter.call(images)
        else:
            converted, y, sample_weight = self._with_targets(images, y, sample_weight)
        x = {**x, "images": converted} if isinstance(x, dict) else converted
        return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)

    def _with_targets(self, images, masks, sample_weight):
        weights, patch_weights = _weights_by_output(sample_weight)
        height, width = self.image_converter.image_size or (None, None)
        batch = (None,) if is_batch(images) else ()
        maps = "float32", (*batch, height, width, 1)
        grids = "float32", (*batch, *(size and size // PATCH_SIZE for size in (height, width)), 1)
        outputs = (("float32", (*batch, height, width, 3)), maps, grids)
        if weights is not None and rank(weights) - len(batch) >= 2:
            converted, masks, patches, weights, pooled = host_call(
                self._place, (images, masks, weights), (*outputs, maps, grids)
            )
            weights = {"masks": weights, "patches": pooled}
        else:
            converted, masks, patches = host_call(self._place, (images, masks), outputs)
            if weights is not None:
                (weights,) = host_call(_image_weights, (weights,), (("float32", batch),))
        y = {"masks": masks, "patches": patches}
        if patch_weights is not None:
            if not isinstance(weights, dict):
                (weights,) = host_call(weights_as, (masks, weights), (maps,))
                weights = {"masks": weights}
            (patch_weights,) = host_call(weights_as, (patches, patch_weights), (grids,))
            weights = {**weights, "patches": patch_weights}
        return converted, y, weights

    def _place(self, images, masks, weights=None):
        """Raw images, masks and, if given, maps of weights to those of the model's canvas."""
        images, several = image_rows(images)
        if not len(images):
            raise InputError("Received a batch of no images; give at least one.")
        masks = rows_of(masks) if several else [masks]
        if weights is not None:
            weights = rows_of(weights) if several else [weights]
        for name, rows in (("masks", masks), ("sample_weight", weights)):
            if rows is not None and len(rows) != len(images):
                raise InputError(
                    f"Received {len(rows)} {name} for {len(images)} images; expected one for each."
                )
        read = [
            self._read_one(image, mask, weight)
            for image, mask, weight in zip(
                images, masks, [None] * len(images) if weights is None else weights, strict=True
            )
        ]
        scales = _foreground_scales([mask for _, _, mask, _ in read])
        found = [
            (image, *_place_one(place, unit_mask(mask, scale), one))
            for (image, place, mask, one), scale in zip(read, scales, strict=True)
        ]
        converted, placed, *maps = (stack_canvases(part) for part in zip(*found, strict=True))
        if maps:
            patches, pooled = pool_weighted(placed, *maps)
            results = converted, placed, patches, *maps, pooled
        else:
            results = converted, placed, max_pool_patches(placed)
        return results if several else tuple(result[0] for result in results)

    def _read_one(self, image, mask, weights):
        """An image as converted, its place, the values of its mask, and its weights or None."""
        converter = self.image_converter
        image = converter.read(image)
        size = image.shape[:2]
        image, place = converter.convert(image), converter.place(size)
        mask = mask_array(mask) if isinstance(mask, Image.Image) else as_array(mask)
        if mask.shape not in (size, (*size, 1)):
            front = "; it has its channel in front" if mask.shape == (1, *size) else ""
            raise InputError(
                f"Received a mask of shape {mask.shape} for an image of {size[0]} x {size[1]}"
                f"{front}; expected one mask (height, width) or (height, width, 1) of the image's "
                "own size per image."
            )
        mask = mask.reshape(size)
        if weights is None:
            return image, place, mask, None
        weights = weight_map(weights, size)
        # What stands in void pixels, such as a 255 that says so, is no value of the mask.
        return image, place, np.where(weights > 0, mask, mask.dtype.type(0)), weights


def _foreground_scales(masks):
    """What the values of each mask of a batch are to be divided by.

    Each mask says it by itself, so that it means the same whichever others share its batch; but 1
    in one mask and 2 in another are labels.
    """
    scales = [foreground_scale([mask]) for mask in masks]
    found = {scale for mask, scale in zip(masks, scales, strict=True) if mask.any()}
    if len(found) > 1 and found - set(_WHOLE):
        raise InputError(
            "Received a batch of masks that hold several labels, "
            f"{' and '.join(f'{scale:g}' for scale in sorted(found)[:4])}; expected 0 and 1, or 0 "
            "and 255. Save the label that is meant as a mask of its own."
        )
    return scales


def _place_one(place, mask, weights):
    """A mask of values in [0, 1] on the canvas, and its weights where there are some."""
    if weights is None:
        return (place.forward_mask(mask)[..., None],)
    return place_weighted(place, mask, weights)


def _image_weights(weights):
    return image_weights(
        weights,
        ", or one per pixel: (batch, height, width), (batch, height, width, 1), or a list of maps "
        "of the images' own sizes",
    )


def _weights_by_output(sample_weight):
    """What was given for the masks, and for the patches where that was given by itself."""
    if not isinstance(sample_weight, dict):
        return sample_weight, None
    if sample_weight.get("masks") is None or not set(sample_weight) <= {"masks", "patches"}:
        raise InputError(
            f"Received sample_weight as a dict of {', '.join(map(str, sample_weight))}; expected "
            "weights of the masks, and of the patches only where these are to differ: "
            '{"masks": ..., "patches": ...}.'
        )
    return sample_weight["masks"], sample_weight.get("patches")


def max_pool_patches(masks):
    """`(batch, height, width, 1)` to `(batch, height / 32, width / 32, 1)` by maximum.

    Raises:
        InputError: for masks that no whole patches fill.
    """
    batch, height, width, _ = masks.shape
    if height % PATCH_SIZE or width % PATCH_SIZE:
        raise InputError(
            f"Received images of {height} x {width} for training; expected an image_size of "
            f"multiples of {PATCH_SIZE}, such as {-(-height // PATCH_SIZE) * PATCH_SIZE} x "
            f"{-(-width // PATCH_SIZE) * PATCH_SIZE}."
        )
    tiles = masks.reshape(
        batch, height // PATCH_SIZE, PATCH_SIZE, width // PATCH_SIZE, PATCH_SIZE, 1
    )
    return tiles.max(axis=(2, 4))
