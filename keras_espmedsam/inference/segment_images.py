"""Images in, masks out, for whatever gives probabilities: a Keras model or an exported one."""

import numbers
import warnings

import numpy as np

from keras_espmedsam.errors import InputError, InputWarning
from keras_espmedsam.imaging.arrays import as_array
from keras_espmedsam.imaging.content import is_blank
from keras_espmedsam.imaging.intensity import parse_intensity
from keras_espmedsam.imaging.raw_batch import image_rows, read_row
from keras_espmedsam.inference.auto_modality import fill_in
from keras_espmedsam.inference.image_batches import check_batch_size, filled_up, image_batches


def segment_images(
    model,
    converter,
    predict,
    images,
    modalities,
    threshold,
    batch_size,
    recognizer,
    mirror,
    intensity=None,
):
    """What `ESPMedSAMImageSegmenter.segment` says, of any model.

    Args:
        model: an object with `modalities` and `modality_indices`.
        converter: `HostImageConverter`.
        predict: callable from converted images `(batch, height, width, 3)` and modality indices
            `(batch,)` to probabilities `(batch, height, width)`, all NumPy.
        images, modalities, threshold, batch_size, recognizer, mirror, intensity: as `segment`
            takes them.

    Raises:
        InputError: see `segment`.

    Source: ours.
    """
    if not isinstance(threshold, numbers.Real) or not 0 <= threshold <= 1:
        raise InputError(f"Received threshold={threshold!r}; expected a number from 0 to 1.")
    check_batch_size(batch_size)
    images, several = image_rows(images)
    modalities = plain_modalities(modalities)
    if modalities is None and len(model.modalities) > 1:
        raise InputError(
            f"Received no modality; give one of {', '.join(model.modalities)} per image, or "
            "'auto' to have it recognised."
        )
    intensity = parse_intensity(intensity)
    modalities, confidences = fill_in(modalities, images, model, recognizer, batch_size, intensity)
    indices = model.modality_indices(modalities, len(images))
    probabilities, blank = [None] * len(images), [False] * len(images)
    for batch, size in image_batches(converter, images, batch_size):
        chosen = [read_row(converter, images, i, intensity) for i in batch]
        for i, image in zip(batch, chosen, strict=True):
            blank[i] = is_blank(image)
        found = _at_own_size(converter, predict, chosen, indices[batch], size)
        if mirror:
            mirrored = [image[:, ::-1] for image in chosen]
            others = _at_own_size(converter, predict, mirrored, indices[batch], size)
            found = [(a + b[:, ::-1]) / 2 for a, b in zip(found, others, strict=True)]
        for i, values in zip(batch, found, strict=True):
            probabilities[i] = values
    result = {
        "masks": [values >= np.float32(threshold) for values in probabilities],
        "probabilities": probabilities,
        "modalities": [model.modalities[i] for i in indices],
        "confidences": confidences,
        "blank": blank,
    }
    _warn_of_blank(blank)
    return result if several else {name: values[0] for name, values in result.items()}


def _warn_of_blank(blank):
    numbers = [i for i, one in enumerate(blank) if one]
    if numbers:
        which = "The image shows" if len(blank) == 1 else f"{_listed(numbers)} show"
        warnings.warn(
            f"{which} nearly one brightness all over; a mask of it says nothing.",
            InputWarning,
            stacklevel=4,
        )


def _listed(numbers, most=3):
    named = ", ".join(f"images[{i}]" for i in numbers[:most])
    return named + (f" and {len(numbers) - most} more" if len(numbers) > most else "")


def _at_own_size(converter, predict, images, indices, size):
    """Of RGB images that fill a batch of `size` or less, each at its own size."""
    placed = [converter.convert(image) for image in images]
    values = predict(np.stack(filled_up(placed, size)), np.array(filled_up(list(indices), size)))
    return [
        converter.place(image.shape[:2]).backward(value)
        for image, value in zip(images, values[: len(images)], strict=True)
    ]


def sigmoid(logits):
    """Probabilities of NumPy logits, in float32, without overflow.

    Example:
        >>> sigmoid(np.zeros(1)).tolist()
        [0.5]

    Source: ours.
    """
    return 0.5 * (1 + np.tanh(0.5 * logits.astype("float32")))


def modality_indices(known, modalities, count):
    """Names or indices to an int32 array; see `ESPMedSAMImageSegmenter.modality_indices`.

    Args:
        known: tuple of str. The model's modalities.
        modalities: name, index, or a list of them; `None` where there is one modality.
        count: int. Number of images.

    Source: ours.
    """
    listed = ", ".join(known)
    if modalities is None:
        if len(known) > 1:
            raise InputError(f"Received no modality; give one of {listed} per image.")
        modalities = 0
    modalities = plain_modalities(modalities)
    if not isinstance(modalities, list):
        modalities = [modalities] * count
    if len(modalities) != count:
        raise InputError(
            f"Received {len(modalities)} modalities for {count} images; give one for all or "
            "one per image."
        )
    indices = []
    for name in modalities:
        if isinstance(name, str) and name in known:
            indices.append(known.index(name))
        elif _is_integer(name) and 0 <= name < len(known):
            indices.append(int(name))
        else:
            shown = int(name) if _is_integer(name) else name
            raise InputError(
                f"Unknown modality {shown!r}; this model knows {listed} (0 to {len(known) - 1})."
            )
    return np.array(indices, "int32")


def plain_modalities(modalities):
    """Names or indices of any form as a `str`, an `int` or a list of these; `None` as it is.

    Args:
        modalities: one, or a list, tuple, array or tensor of them; NumPy's strings and the bytes
            that TensorFlow makes of a string are names too.

    Example:
        >>> plain_modalities(np.array([b"eye", b"lung"]))
        ['eye', 'lung']

    Source: ours.
    """
    if isinstance(modalities, bytes):
        return modalities.decode(errors="replace")
    if modalities is None or isinstance(modalities, str | int | dict):
        return modalities
    if isinstance(modalities, list | tuple):
        return [plain_modalities(one) for one in modalities]
    values = as_array(modalities)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 0:
        value = values.item()
        return plain_modalities(value) if isinstance(value, bytes) else value
    return plain_modalities(values.tolist())


def _is_integer(value):
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
