"""Raw masks of several targets: which channels they label, and what must hold in them."""

import numpy as np

from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.target_conflicts import find_conflicts
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.arrays import as_array


def labelled_channels(targets, count, masks=None, modalities=None, given=None):
    """Return which channels of each image are labelled, and check the masks of these.

    Args:
        targets: `Targets` of the model.
        count: int. Number of images.
        masks: `(batch, height, width, channels)`, or a list of such maps; foreground is above half
            of a map's largest value. A map of one channel, `(height, width[, 1])`, shows the first
            target of its modality. `None` to check nothing. What is no such map is not checked
            here.
        modalities: int array `(batch,)`, or `None` for the first.
        given: `(batch, channels)` of bool, or of 0 and 1; `None` for all channels of an image's
            modality.

    Returns:
        bool `(batch, channels)`.

    Raises:
        InputError: for `given` of another shape or with other values, and for masks that overlap
            in an exclusive group or lie outside of their outer one.
    """
    rows = np.zeros(count, "int32") if modalities is None else modalities
    counts = tuple(len(targets.channels(modality)) for modality in targets.modalities)
    labelled = first_channels(counts, targets.num_channels)[rows]
    if given is not None:
        labelled &= _flags(given, labelled.shape)
    if masks is not None:
        for i in range(min(count, len(masks))):
            if shows_first_target(masks[i], targets.num_channels):
                labelled[i, 1:] = False
            _check_conflicts(targets, targets.modalities[rows[i]], masks[i], labelled[i], i, count)
    return labelled


def shows_first_target(mask, channels):
    """Return whether an image's mask has one channel, though the model has several.

    Args:
        mask: array, tensor or Pillow image.
        channels: int. The number of channels of the model.

    Example:
        >>> shows_first_target(np.zeros((4, 4, 1)), 3), shows_first_target(np.zeros((4, 4, 3)), 3)
        (True, False)
    """
    shape = getattr(mask, "shape", None)
    if shape is None:
        shape = as_array(mask).shape
    return channels > 1 and (len(shape) == 2 or (len(shape) == 3 and shape[-1] == 1))


def first_channels(counts, channels):
    """Return which channels each modality has, bool `(modalities, channels)`.

    Args:
        counts: tuple of int. The number of channels of each modality.
        channels: int. The number of channels of the model.

    Example:
        >>> first_channels((2, 1), 2).tolist()
        [[True, True], [True, False]]
    """
    return np.arange(channels) < np.array(counts)[:, None]


def _flags(given, shape):
    given = as_array(given)
    if given.shape != shape:
        raise InputError(
            f"Received labelled of shape {given.shape}; expected one value per image and channel, "
            f"{shape}."
        )
    if given.dtype.kind not in "biuf":
        raise InputError(
            f"Received labelled of type {given.dtype}; expected True or False, or 1 or 0, for each "
            "image and channel."
        )
    flags = given.astype(bool)
    wrong = given != flags  # NaN, too.
    if wrong.any():
        row, channel = np.argwhere(wrong)[0].tolist()
        raise InputError(
            f"Received labelled[{row}, {channel}]={shown_value(given[row, channel].item())}; "
            "expected True or False, or 1 or 0, for each image and channel."
        )
    return flags


def _check_conflicts(targets, modality, mask, labelled, number, count):
    if not (targets.exclusive.get(modality) or targets.nested.get(modality)):
        return
    mask = as_array(mask)
    if mask.ndim != 3 or mask.shape[-1] != len(labelled) or mask.dtype.kind not in "biuf":
        return
    half = mask.max(initial=0) / 2
    channels = range(len(targets.of(modality)))
    found = {channel: mask[..., channel] > half for channel in channels if labelled[channel]}
    for conflict in find_conflicts(targets, modality, found):
        said = conflict.sentence(targets.of(modality), "leave the image out")
        raise InputError(f"masks[{number}]: {said}" if count > 1 else said)
