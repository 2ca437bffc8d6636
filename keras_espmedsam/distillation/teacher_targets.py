"""What a student learns from teachers in one batch, and on which grid."""

import numpy as np
from keras import ops

from keras_espmedsam.distillation.mask_loss import MASKS
from keras_espmedsam.errors import InputError
from keras_espmedsam.ops.device_constant import device_constant, device_number


def part_of(x, stream, streams, phase):
    """Return the part of a batch that a stream learns from.

    Args:
        x: dict of the streams' parts.
        stream: `"common"` or `"domain"`.
        streams: tuple of the streams of the phase.
        phase: str, its name.

    Raises:
        InputError: for a batch without it.
    """
    if not isinstance(x, dict) or stream not in x:
        received = ", ".join(x) if isinstance(x, dict) else type(x).__name__
        raise InputError(
            f"The phase {phase!r} received a batch of {received}; expected a dict with "
            f"{' and '.join(streams)}."
        )
    return x[stream]


def check_targets(targets, expected, stream):
    """Check that a batch holds all targets that the terms of a stream need.

    Args:
        targets: `{teacher: {feature: tensor}}`, of the batch.
        expected: dict of teacher to its list of terms.
        stream: `"common"` or `"domain"`.

    Raises:
        InputError: with what is missing.
    """
    if set(targets) != set(expected):
        raise InputError(
            f"Received targets of {', '.join(targets)} for the {stream} images; expected "
            f"those of {', '.join(expected) or 'no teacher'}."
        )
    for teacher, terms in expected.items():
        missing = {term.teacher for term in terms} - set(targets[teacher])
        if missing:
            raise InputError(
                f"The targets of {teacher} for the {stream} images lack "
                f"{', '.join(sorted(missing))}; they hold {', '.join(targets[teacher])}."
            )


def domain_targets(teachers, own_modalities, part):
    """Return the features of each image's own teacher of the domain.

    Args:
        teachers: list of `Teacher`: one for all modalities, or one for each in their order.
        own_modalities: tuple, the student's modalities.
        part: dict of `images`, `(batch, height, width, 3)`, or `teacher_images` of another size,
            and `modalities`, `(batch,)` int, indices into the student's, which a student with one
            modality does not need.

    Returns:
        dict of feature to tensor.
    """
    images, modalities = teachers_images(part), part.get("modalities")
    found = [
        teacher(images, _indices_of(teacher, own_modalities, images, modalities))
        for teacher in teachers
    ]
    if len(teachers) == 1:
        return found[0]
    if MASKS in found[0]:
        width = max(one[MASKS].shape[-1] for one in found)
        found = [{**one, MASKS: _widened(one[MASKS], width)} for one in found]
    numbers = [device_number(k, like=modalities) for k in range(len(found))]
    own = [ops.reshape(ops.equal(modalities, k), (-1, 1, 1, 1)) for k in numbers]
    targets = {}
    for name in found[0]:
        nothing = device_number(0, like=found[0][name])
        values = [ops.where(mask, f[name], nothing) for mask, f in zip(own, found, strict=True)]
        targets[name] = sum(values[1:], values[0])
    return targets


def teachers_images(part):
    """Return the images that teachers see: those of their size, if a part of a batch has them."""
    return part.get("teacher_images", part["images"])


def on_grid(target, feature):
    """Return a target on the grid of the student's feature.

    Args:
        target: `(batch, h, w, channels)`.
        feature: `(batch, height, width, ...)`.

    Returns:
        float32 `(batch, height, width, channels)`.
    """
    target = ops.cast(target, "float32")
    size, own = tuple(feature.shape[1:3]), tuple(target.shape[1:3])
    if size == own or None in (*size, *own):
        return target
    if own[0] % size[0] == 0 and own[1] % size[1] == 0:
        pool = (own[0] // size[0], own[1] // size[1])
        return ops.average_pool(target, pool, pool, data_format="channels_last")
    return ops.image.resize(target, size, interpolation="bilinear", data_format="channels_last")


def _indices_of(teacher, own_modalities, images, modalities):
    """Return the modalities of images as a teacher numbers them."""
    own = tuple(max(index, 0) for index in teacher.indices_of(own_modalities))
    if not teacher.takes_modalities or own == tuple(range(len(own))) != (0,):
        return modalities
    if modalities is None:  # The student has one; of a teacher without names it is not known.
        if teacher.modalities is None or isinstance(own_modalities[0], int):
            return None
        return ops.full((ops.shape(images)[0],), own[0], dtype="int32")
    modalities = ops.convert_to_tensor(modalities)
    return ops.take(device_constant(_as_int32, own, like=modalities), modalities)


def _widened(masks, width):
    """Fill masks up with channels that are unknown."""
    fill = width - masks.shape[-1]
    if not fill:
        return masks
    nothing = ops.full_like(masks[..., :1], float("-inf"))
    return ops.concatenate([masks, *[nothing] * fill], axis=-1)


def _as_int32(numbers):
    return np.array(numbers, "int32")
