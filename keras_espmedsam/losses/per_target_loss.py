"""A loss of one target for several: of each target that is labelled, and of exclusive groups."""

import contextlib
import contextvars

import keras
import numpy as np
from keras import ops

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.losses.batch_loss import BatchLoss
from keras_espmedsam.losses.dice_ce_loss import DiceCELoss
from keras_espmedsam.losses.exclusive_groups import owners_of_groups
from keras_espmedsam.losses.parts import as_float32_and_weights, mean_per_image, only_known
from keras_espmedsam.losses.pixel_loss import PixelLoss
from keras_espmedsam.ops.device_constant import device_constant, device_number

# A value of its own in each thread, as TensorFlow computes the parts of a batch in threads.
_MODALITIES = contextvars.ContextVar("modalities", default=None)


@contextlib.contextmanager
def of_modalities(modalities):
    """Tell the losses and metrics that are computed inside which modality each image has.

    Args:
        modalities: integer tensor or array `(batch,)`, indices into the rows of `groups`; or
            `None`.

    Example:
        >>> loss = PerTargetLoss(kem.losses.DiceLoss(), groups=[[1, 1], [0, 0]])
        >>> truth = np.array([[1.0, 0.0], [1.0, 1.0]]).reshape(2, 1, 1, 2)
        >>> with of_modalities(np.array([0, 1])):
        ...     round(float(loss(truth, 100 * truth - 50)), 4)
        0.0
    """
    token = _MODALITIES.set(modalities)
    try:
        yield
    finally:
        _MODALITIES.reset(token)


def known_modalities():
    """Return what `of_modalities` was told, or `None`."""
    return _MODALITIES.get()


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class PerTargetLoss(PixelLoss):
    """A loss of one target, computed for each target that is labelled in an image, and averaged.

    What is not labelled is unknown, not background: it changes neither value nor gradient. Neither
    do the channels that a modality has not, whose logits are -inf. An image without any labelled
    target costs 0.

    The targets of an exclusive group, such as arteries and veins, have one loss together, which
    counts once for each of them. If only some of them are labelled in an image, these are
    computed like other targets there, as it is unknown which pixels the rest have.

    Args:
        loss: `keras.losses.Loss` with a value per image or pixel, from
            `(batch, height, width, 1)`.
        exclusive: `keras.losses.Loss` like it, from the channels of a whole group. Default:
            `DiceCELoss()`.
        groups: for each modality, its channels' exclusive groups: from 1, or 0 for a channel in
            none, see `Targets.group_numbers`. If the modalities' groups differ, it has to be known
            which one each image has, see `of_modalities`.
        reduction, name: see `keras.losses.Loss`. Default name: that of `loss`.

    Input: `y_true` in {0, 1}, or -1 where unlabelled, and logits `y_pred`,
    `(batch, height, width, targets)`.
    `sample_weight`: `(batch,)`, or per pixel `(batch, height, width[, 1 or targets])`; see
    `PixelLoss`.
    Output: `(batch,)` before reduction.

    Raises:
        InputError: for a loss of the whole batch, groups of another number of channels, unknown
            modalities, shapes that differ, and a `sample_weight` of another shape.

    Example:
        >>> loss = PerTargetLoss(kem.losses.DiceLoss())
        >>> truth = np.stack([np.ones((1, 2, 2)), np.full((1, 2, 2), -1.0)], axis=-1)
        >>> float(loss(truth, np.full((1, 2, 2, 2), 50.0)))
        0.0
    """

    takes_several_targets = True

    def __init__(
        self,
        loss,
        exclusive=None,
        groups=(),
        reduction="sum_over_batch_size",
        name=None,
        **kwargs,
    ):
        self.loss = _checked_loss(loss)
        self.exclusive = DiceCELoss() if exclusive is None else _checked_loss(exclusive)
        self.groups = _checked_groups(groups)
        super().__init__(reduction=reduction, name=name or loss.name, **kwargs)

    def call(self, y_true, y_pred):
        y_true, y_pred, weights = as_float32_and_weights(self, y_true, y_pred)
        if len(y_pred.shape) != 4:
            raise InputError(
                f"PerTargetLoss received masks of shape {tuple(y_pred.shape)}; expected "
                "(batch, height, width, targets)."
            )
        y_true, y_pred, known = only_known(y_true, y_pred)
        given, weights = weights is not None, known if weights is None else known * weights
        labelled = ops.max(known, axis=(1, 2))
        values = self._of_each(y_true, y_pred, weights, given)
        for members, of_modality in self._groups_of(y_pred):
            values = self._with_group(
                values, members, of_modality, labelled, (y_true, y_pred, weights), given
            )
        values = ops.where(labelled > 0, values, device_number(0, like=values))
        number = ops.sum(labelled, axis=-1)
        return ops.sum(values, axis=-1) / ops.maximum(number, device_number(1, like=number))

    def _of_each(self, y_true, y_pred, weights, given):
        """Return the wrapped loss of each channel, `(batch, targets)`."""
        _, height, width, _ = ops.shape(y_pred)
        # As more images, so that a loss of one channel is computed once and needs no change.
        arrays = (
            ops.reshape(ops.transpose(x, (0, 3, 1, 2)), (-1, height, width, 1))
            for x in (y_true, y_pred, weights)
        )
        return ops.reshape(_per_image(self.loss, *arrays, given), (-1, y_pred.shape[-1]))

    def _groups_of(self, y_pred):
        """Yield each group's channels, and whether each image's modality has it, or `None`."""
        if not self.groups:
            return
        channels = y_pred.shape[-1]
        if len(self.groups[0]) != channels:
            raise InputError(
                f"PerTargetLoss received masks of {channels} channels, but groups of "
                f"{len(self.groups[0])}; give one number per channel."
            )
        for members, modalities in owners_of_groups(self.groups).items():
            if len(modalities) == len(self.groups):
                yield members, None
            else:
                has = device_constant(_flags, len(self.groups), tuple(modalities), like=y_pred)
                yield members, ops.take(has, self._modalities(y_pred), axis=0)

    def _modalities(self, y_pred):
        modalities = known_modalities()
        if modalities is None:
            raise InputError(
                "PerTargetLoss has exclusive groups that differ between modalities, and was not "
                "told the modality of each image; compute it inside `with "
                "losses.per_target_loss.of_modalities(modalities):`."
            )
        rows = ops.cast(ops.reshape(modalities, (-1,)), "int32")
        given, images = rows.shape[0], y_pred.shape[0]
        if given != images and None not in (given, images):
            raise InputError(
                f"PerTargetLoss was told {given} modalities for {images} images; give one for each."
            )
        return rows

    def _with_group(self, values, members, of_modality, labelled, arrays, given):
        """Return the values, with those of a group's channels where all of them are labelled."""
        whole = ops.min(ops.stack([labelled[:, c] for c in members], axis=-1), axis=-1)
        if of_modality is not None:
            whole = whole * of_modality
        y_true, y_pred, weights = (ops.stack([x[..., c] for c in members], -1) for x in arrays)
        zero = device_number(0, like=y_pred)
        used = ops.reshape(whole, (-1, 1, 1, 1)) > 0
        # Zeros again: some of the others' logits are no softmax's.
        y_true, y_pred, weights = (ops.where(used, x, zero) for x in (y_true, y_pred, weights))
        value = _per_image(self.exclusive, y_true, y_pred, weights, given)
        columns = [
            ops.where(whole > 0, value, values[:, channel])
            if channel in members
            else values[:, channel]
            for channel in range(values.shape[-1])
        ]
        return ops.stack(columns, axis=-1)

    def get_config(self):
        return {
            **super().get_config(),
            "loss": keras.losses.serialize(self.loss),
            "exclusive": keras.losses.serialize(self.exclusive),
            "groups": [list(row) for row in self.groups],
        }

    @classmethod
    def from_config(cls, config):
        made = {name: keras.losses.deserialize(config[name]) for name in ("loss", "exclusive")}
        return cls(**{**config, **made})


def _flags(number, modalities):
    return np.isin(np.arange(number), modalities).astype("float32")


def _per_image(loss, y_true, y_pred, weights, given):
    """Return a loss's value for each image, from its own weights per pixel if it takes them."""
    if isinstance(loss, PixelLoss):
        return loss.call((y_true, weights), y_pred)
    values = loss.call(y_true, y_pred)
    shape, images = tuple(values.shape), y_pred.shape[0]
    if not shape or (shape[0] != images and None not in (shape[0], images)):
        raise InputError(
            f"{type(loss).__name__} gives values of shape {shape} for {images} masks; with several "
            "targets use a loss with a value per image, such as DiceFocalLoss."
        )
    if len(shape) in (3, 4):
        weights = weights if len(shape) == 4 else ops.max(weights, axis=-1)
        return mean_per_image(values, weights)
    if given:
        raise InputError(
            f"{type(loss).__name__} has one value per image and takes no weights per pixel; give "
            "a sample_weight per image, (batch,), or derive the loss from PixelLoss."
        )
    return ops.mean(values, axis=tuple(range(1, len(shape)))) if len(shape) > 1 else values


def _checked_loss(loss):
    if isinstance(loss, PerTargetLoss) or not isinstance(loss, keras.losses.Loss):
        raise InputError(
            f"PerTargetLoss received the loss {shown_value(loss)}; expected a keras.losses.Loss of "
            "one target, such as DiceFocalLoss()."
        )
    if isinstance(loss, BatchLoss):
        raise InputError(
            f"{type(loss).__name__} has one value for the whole batch, so it cannot leave out the "
            "targets that an image has no labels of; with several targets use a loss per image, "
            "such as DiceFocalLoss (`loss: standard`)."
        )
    return loss


def _checked_groups(groups):
    try:
        rows = tuple(tuple(int(number) for number in row) for row in groups)
    except (TypeError, ValueError):
        rows = ((-1,),)
    if len({len(row) for row in rows}) > 1 or any(number < 0 for row in rows for number in row):
        raise InputError(
            f"PerTargetLoss received groups={shown_value(groups)}; expected a row per modality, "
            "with a number from 0 for each channel."
        )
    return rows if any(number for row in rows for number in row) else ()
