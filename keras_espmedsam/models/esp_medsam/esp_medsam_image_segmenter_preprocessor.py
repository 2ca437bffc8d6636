"""Prepare raw images, modalities and masks for training the segmenter."""

import keras
import numpy as np
from keras_hub.models import ImageSegmenterPreprocessor
from PIL import Image

from keras_espmedsam.data.targets import UNLABELLED
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.from_preset import knows_builtin_presets
from keras_espmedsam.imaging.arrays import as_array
from keras_espmedsam.imaging.host_call import host_call, rank
from keras_espmedsam.imaging.mask_colours import mask_array

# `mask_values` was defined here in version 0.1.0; programs still import it from here.
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
from keras_espmedsam.models.esp_medsam.raw_targets import shows_first_target
from keras_espmedsam.models.sample_weights import image_weights

# Foreground values that may differ between masks of a batch: 1, and the 8-bit and 16-bit maximum.
_WHOLE = (1.0, 255.0, 65535.0)


@knows_builtin_presets(has_weights=False)
@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ESPMedSAMImageSegmenterPreprocessor(ImageSegmenterPreprocessor):
    """Place image and mask alike on the model's canvas, and derive the patch target.

    Args:
        image_converter: `ESPMedSAMImageConverter`.

    Call: `x`, a dict of raw `images` and `modalities` `(batch,)` (or only images for a model of
    one modality). Images are `(batch, height, width, channels)` or a list of images of any sizes.
    `y`, masks of the images' own sizes, `(batch, height, width[, 1])` or a list of them, in
    {0, 1} (or 0 to 255 in uint8), or `None`; with several targets a dict of `masks`,
    `(batch, height, width, channels)` or a list of such maps, or of maps of one channel for the
    first target of a modality, and `labelled`, `(batch, channels)` bool. `sample_weight`:
    `(batch,)`, or one per pixel, `(batch, height, width[, 1])` or a list of maps of the images' own
    sizes, or a dict of these as `masks` and, if the patches need their own weights, `patches`; or
    `None`.
    Returns `x`, `(x, y)` or `(x, y, sample_weight)`. `y` is a dict of `masks`,
    `(batch, height, width, channels)`, and `patches`, the masks max-pooled by 32; both are -1 in
    channels that are not labelled. Weights per pixel
    become a dict like `y`. A pixel of weight 0 then affects neither the masks of the canvas nor
    the patches, and padding, which is background, gets the image's mean weight.

    Example:
        >>> preprocessor = ESPMedSAMImageSegmenterPreprocessor(
        ...     ESPMedSAMImageConverter(image_size=(64, 64)))
        >>> x = {"images": np.zeros((2, 48, 80, 3), "uint8"), "modalities": np.array([0, 1])}
        >>> x, y = preprocessor(x, np.ones((2, 48, 80, 1)))
        >>> x["images"].shape, y["masks"].shape, y["patches"].shape
        ((2, 64, 64, 3), (2, 64, 64, 1), (2, 2, 2, 1))

    Source: ESP-MedSAM (arXiv 2407.14153), the patch target.
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

    def _with_targets(self, images, y, sample_weight):
        masks, labelled = (y["masks"], y["labelled"]) if isinstance(y, dict) else (y, None)
        weights, patch_weights = _weights_by_output(sample_weight)
        height, width = self.image_converter.image_size or (None, None)
        batch = (None,) if is_batch(images) else ()
        channels = 1 if labelled is None else labelled.shape[-1]
        grid = tuple(size and size // PATCH_SIZE for size in (height, width))
        map_1, grid_1 = (("float32", (*batch, *size, 1)) for size in ((height, width), grid))
        maps, grids = (("float32", (*batch, *size, channels)) for size in ((height, width), grid))
        outputs = (("float32", (*batch, height, width, 3)), maps, grids)
        inputs, place = (images, masks), self._place
        if labelled is not None:
            inputs, place = (*inputs, labelled), self._place_labelled
        if weights is not None and rank(weights) - len(batch) >= 2:
            converted, masks, patches, weights, pooled = host_call(
                place, (*inputs, weights), (*outputs, map_1, grid_1)
            )
            weights = {"masks": weights, "patches": pooled}
        else:
            converted, masks, patches = host_call(place, inputs, outputs)
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

    def _place_labelled(self, images, masks, labelled, weights=None):
        return self._place(images, masks, weights, labelled)

    def _place(self, images, masks, weights=None, labelled=None):
        """Place raw images, masks and, if given, weight maps on the model's canvas."""
        images, several = image_rows(images)
        if not len(images):
            raise InputError("Received an empty batch of images; give at least one.")
        masks = rows_of(masks) if several else [masks]
        if weights is not None:
            weights = rows_of(weights) if several else [weights]
        for name, rows in (("masks", masks), ("sample_weight", weights)):
            if rows is not None and len(rows) != len(images):
                raise InputError(
                    f"Received {len(rows)} {name} for {len(images)} images; expected one for each."
                )
        channels = 1 if labelled is None else np.shape(labelled)[-1]
        read = [
            self._read_one(image, mask, weight, channels)
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
        if labelled is not None:
            unknown = ~np.reshape(np.asarray(labelled, "bool"), (len(images), 1, 1, channels))
            for values in results[1:3]:
                np.copyto(values, np.float32(UNLABELLED), where=unknown)
        return results if several else tuple(result[0] for result in results)

    def _read_one(self, image, mask, weights, channels=1):
        """Return the converted image, its place, its mask values, and its weights or None."""
        converter = self.image_converter
        image = converter.read(image)
        size = image.shape[:2]
        image, place = converter.convert(image), converter.place(size)
        mask = mask_array(mask) if isinstance(mask, Image.Image) else as_array(mask)
        if mask.shape[:2] == size and shows_first_target(mask, channels):
            wide = np.zeros((*size, channels), mask.dtype)
            wide[..., 0] = mask.reshape(size)
            mask = wide
        if channels > 1 and mask.shape != (*size, channels):
            raise InputError(
                f"Received masks of shape {mask.shape} for an image of {size[0]} x {size[1]} and "
                f"{channels} channels; expected {(*size, channels)}, or {(*size, 1)} for the "
                "modality's first target."
            )
        if channels == 1 and mask.shape not in (size, (*size, 1)):
            front = "; its channel axis comes first" if mask.shape == (1, *size) else ""
            raise InputError(
                f"Received a mask of shape {mask.shape} for an image of {size[0]} x {size[1]}"
                f"{front}; expected one mask (height, width) or (height, width, 1) of the image's "
                "own size per image."
            )
        mask = mask.reshape((*size, channels) if channels > 1 else size)
        if weights is None:
            return image, place, mask, None
        weights = weight_map(weights, size)
        known = weights > 0 if channels == 1 else weights[..., None] > 0
        # The value of void pixels, such as a 255 that marks them, is not a value of the mask.
        return image, place, np.where(known, mask, mask.dtype.type(0)), weights


def _foreground_scales(masks):
    """Return the number to divide each mask of a batch by.

    Each mask determines its own, so that it means the same in any batch. But 1 in one mask and 2
    in another are labels.
    """
    scales = [foreground_scale([mask]) for mask in masks]
    found = {scale for mask, scale in zip(masks, scales, strict=True) if mask.any()}
    if len(found) > 1 and found - set(_WHOLE):
        raise InputError(
            "Received a batch of masks that hold several labels, "
            f"{' and '.join(f'{scale:g}' for scale in sorted(found)[:4])}; expected 0 and 1, or 0 "
            "and 255. Save the label to segment as a mask of its own."
        )
    return scales


def _place_one(place, mask, weights):
    """Place a mask with values in [0, 1] on the canvas, with its weights if it has any."""
    if mask.ndim == 3:
        channels = [np.ascontiguousarray(mask[..., i]) for i in range(mask.shape[-1])]
        placed = [_place_one(place, channel, weights) for channel in channels]
        masks, *maps = zip(*placed, strict=True)
        return np.concatenate(masks, axis=-1), *(map[0] for map in maps)
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
    """Split weights into those of the masks and those given separately for the patches."""
    if not isinstance(sample_weight, dict):
        return sample_weight, None
    if sample_weight.get("masks") is None or not set(sample_weight) <= {"masks", "patches"}:
        raise InputError(
            f"Received sample_weight as a dict of {', '.join(map(str, sample_weight))}; expected "
            "weights of the masks, and of the patches only if they are to differ: "
            '{"masks": ..., "patches": ...}.'
        )
    return sample_weight["masks"], sample_weight.get("patches")


def max_pool_patches(masks):
    """Max-pool `(batch, height, width, channels)` to patches of 32 x 32 pixels.

    Raises:
        InputError: if height or width is not a multiple of 32.
    """
    batch, height, width, channels = masks.shape
    if height % PATCH_SIZE or width % PATCH_SIZE:
        raise InputError(
            f"Received images of {height} x {width} for training; expected an image_size of "
            f"multiples of {PATCH_SIZE}, such as {-(-height // PATCH_SIZE) * PATCH_SIZE} x "
            f"{-(-width // PATCH_SIZE) * PATCH_SIZE}."
        )
    tiles = masks.reshape(
        batch, height // PATCH_SIZE, PATCH_SIZE, width // PATCH_SIZE, PATCH_SIZE, channels
    )
    return tiles.max(axis=(2, 4))


def any_target(patches, counts):
    """Join the patches of each target to one map, `(batch, rows, columns, 1)`.

    Args:
        patches: `(batch, rows, columns, channels)`: 1 for a patch that holds the target, 0, or -1
            if the target is not labelled.
        counts: int array `(batch,)` or `(1,)`. How many of the channels are targets of the image.

    Returns:
        float32: 1 if any target is in the patch, otherwise 0; all -1 for an image in which some
            targets are not labelled. Patches that hold a labelled one would be known, but alone
            they would teach that every patch holds something.
    """
    used = np.arange(patches.shape[-1]) < np.reshape(counts, (-1, 1, 1, 1))
    values = np.where(used, patches, np.float32(0))
    found = values.max(axis=-1, keepdims=True)
    unknown = values.min(axis=(1, 2, 3), keepdims=True) < 0
    return np.where(unknown, np.float32(UNLABELLED), found).astype("float32")
