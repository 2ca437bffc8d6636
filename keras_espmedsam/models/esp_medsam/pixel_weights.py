"""Weights of a mask's pixels, on the model's canvas and on its patches. NumPy only."""

import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.arrays import as_array
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import PATCH_SIZE
from keras_espmedsam.models.sample_weights import checked_weights

# A smaller share of a canvas pixel is a rounding error.
_ROUNDING = 1e-5


def weight_map(weight, size):
    """Return the weights of one image's pixels as float32.

    Args:
        weight: array `(height, width)` or `(height, width, 1)`, or one number for all pixels.
        size: (height, width) of the image.

    Raises:
        InputError: for another shape, and for invalid weights.
    """
    values = as_array(weight)
    if values.ndim == 0:
        return np.full(size, checked_weights(values), "float32")
    if values.shape not in (size, (*size, 1)):
        front = "; its channel axis comes first" if values.shape == (1, *size) else ""
        raise InputError(
            f"Received a sample_weight of shape {values.shape} for an image of "
            f"{size[0]} x {size[1]}{front}; expected (height, width) or (height, width, 1) of the "
            "image's own size, or one number per image."
        )
    return checked_weights(values).reshape(size)


def place_weighted(place, mask, weights):
    """Place a mask and the weights of its pixels as their image is placed.

    Void pixels (weight 0) affect neither: a canvas pixel is foreground if at least half of its
    other source pixels are. Its weight is their mean, weighted by the share that each takes of it
    and scaled so that resizing keeps the image's mean weight. Padding is background, as it is
    without weights, and gets that mean weight. So a map of ones changes nothing.

    Args:
        place: `Placement`.
        mask: float32 `(height, width)` in [0, 1].
        weights: float32 `(height, width)`.

    Returns:
        Mask in {0, 1} and weights, float32 `(*canvas, 1)`.
    """
    known = weights > 0
    if not known.any():
        zeros = np.zeros((*place.canvas, 1), "float32")
        return zeros, zeros
    mean = weights[known].mean(dtype="float64")
    if known.all():
        placed, seen = place.forward_mask(mask), True
    else:
        share = place.forward(known.astype("float32"), fill=1)
        seen = share > _ROUNDING
        least = np.where(share < 1 - _ROUNDING, share * np.float32(0.5), np.float32(0.5))
        placed = place.forward(np.where(known, mask, np.float32(0)))
        placed = ((placed >= least) & seen).astype("float32")
    if weights.min() == weights.max():  # Resizing keeps a constant, except for rounding.
        return placed[..., None], np.full((*place.canvas, 1), weights.max(), "float32")
    drawn = np.where(seen, place.forward(weights), np.float32(0))
    inner = drawn[: place.inner[0], : place.inner[1]]
    if place.inner != place.size:
        inner *= np.float32(mean / inner[inner > 0].mean(dtype="float64"))
    drawn[place.inner[0] :] = drawn[:, place.inner[1] :] = mean
    return placed[..., None], drawn[..., None]


def pool_weighted(masks, weights):
    """Return the patch target and its weights, from the pixels of weight above 0 only.

    Args:
        masks, weights: float32 `(batch, height, width, channels)`, multiples of 32; weights may
            have one channel for all.

    Returns:
        Two arrays `(batch, height / 32, width / 32, channels)`: whether any of a patch's pixels is
            foreground, and their mean weight, 0 if there are none.
    """
    masks, weights = _tiles(masks), _tiles(weights)
    known = weights > 0
    number = known.sum(axis=(2, 4))
    mean = weights.sum(axis=(2, 4), dtype="float64") / np.maximum(number, 1)
    return (masks * known).max(axis=(2, 4)), mean.astype("float32")


def weights_as(target, weights):
    """Return weights per image, pixel or patch as a map of a target's shape.

    Args:
        target: `(batch, height, width, 1)`.
        weights: `(batch,)`, `(batch, 1)`, `(batch, height, width)` or as the target.

    Raises:
        InputError: for another shape, and for invalid weights.
    """
    values, shape = as_array(weights), tuple(target.shape)
    if values.shape in (shape[:1], (shape[0], 1)):
        values = np.broadcast_to(values.reshape(-1, 1, 1, 1), shape)
    elif values.shape not in (shape, shape[:-1]):
        raise InputError(
            f"Received a sample_weight of shape {values.shape} for patches of shape {shape}; "
            "expected one per image, (batch,), or one per patch."
        )
    return checked_weights(values.reshape(shape))


def weigh_classes(masks, by_class, weights=None):
    """Return weights per pixel by class, background or foreground.

    Args:
        masks: `(batch, height, width, 1)` in {0, 1}, on the canvas.
        by_class: array of two weights.
        weights: weights to multiply with, `(batch,)` or as `masks`; `None` for 1.

    Returns:
        Weights shaped like `masks`, and their pooled weights per patch, see `pool_weighted`.
    """
    masks = np.asarray(masks, "float32")
    found = np.asarray(by_class, "float32")[(masks >= 0.5).astype("int32")]
    if weights is not None:
        weights = np.asarray(weights, "float32")
        found *= weights.reshape(-1, 1, 1, 1) if weights.ndim < 3 else weights
    return (found, *pool_weighted(masks, found))


def _tiles(values):
    batch, height, width, channels = values.shape
    return values.reshape(
        batch, height // PATCH_SIZE, PATCH_SIZE, width // PATCH_SIZE, PATCH_SIZE, channels
    )
