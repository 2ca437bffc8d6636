"""Dice of each target of each modality, and the mean over all of them."""

import keras
import numpy as np
from keras import ops

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.losses.per_target_loss import known_modalities
from keras_espmedsam.metrics.mask_overlap import DiceScore, mean_or_nan
from keras_espmedsam.ops.device_constant import device_constant, device_number


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class TargetDice(DiceScore):
    """Mean Dice of each target over the images in which it is labelled, and the mean over targets.

    So a target that few images label counts as much as one that all do. A target that no image
    has labelled is NaN, and not part of the mean, which is NaN if there is no such target.

    Args:
        names: dict of modality to the names of its targets, in the order of the channels, as
            `segmenter.targets`. Further channels, which are hidden ones, are not measured.
        threshold, name, dtype: see `DiceScore`.

    Input: as `DiceScore`. If there are several modalities, it has to be known which one each image
    has: see `keras_espmedsam.losses.per_target_loss.of_modalities`; a segmenter says so itself.

    Returns, as its result: dict of `masks_dice`, the mean over the targets, and for each of them
    its own, such as `dice_fundus/vessels`.

    Raises:
        InputError: for no names, and modalities that are not known.

    Example:
        >>> metric = TargetDice({"fundus": ("vessels", "optic_disc")})
        >>> truth = np.stack([np.ones((1, 2, 2)), np.full((1, 2, 2), -1.0)], axis=-1)
        >>> metric.update_state(truth, np.ones((1, 2, 2, 2)))
        >>> {name: float(value) for name, value in metric.result().items()}
        {'masks_dice': 1.0, 'dice_fundus/vessels': 1.0, 'dice_fundus/optic_disc': nan}

    Source: Dice (1945). If both masks are empty, the value is 1.
    """

    def __init__(self, names, threshold=0.5, name="dice", dtype=None, **kwargs):
        names = {modality: list(targets) for modality, targets in dict(names).items()}
        if not all(names.values()) or not names:
            raise InputError(
                f"TargetDice received names={shown_value(names)}; expected a dict of each modality "
                "to its targets, such as segmenter.targets."
            )
        super().__init__(threshold, name, dtype, **kwargs)
        # A function, since Keras would wrap a dict in an attribute.
        self._names = lambda: names
        shape = (len(names), max(map(len, names.values())))
        self.totals = self.add_weight(shape=shape, initializer="zeros", name="totals")
        self.counts = self.add_weight(shape=shape, initializer="zeros", name="counts")

    def update_state(self, y_true, y_pred, sample_weight=None):
        values, weights = self.values_and_weights(y_true, y_pred, sample_weight)
        rows, columns = self.totals.shape
        values, weights = (x[:, :columns] for x in (values, weights))
        own = self._own_rows(values, rows)
        counts = tuple(map(len, self._names().values()))
        if len(set(counts)) > 1:
            # A modality's hidden channels follow its targets, where others have targets.
            shown = device_constant(_shown, counts, like=values)
            weights = weights * ops.matmul(own, shown)
        self.totals.assign_add(ops.matmul(ops.transpose(own), values * weights))
        self.counts.assign_add(ops.matmul(ops.transpose(own), weights))

    def _own_rows(self, values, rows):
        """Return which modality each image has, `(batch, modalities)` of 0 and 1."""
        modalities = known_modalities()
        if rows == 1:
            return ops.ones_like(values[:, :1])
        if modalities is None:
            raise InputError(
                "TargetDice measures targets of several modalities, and was not told the modality "
                "of each image; update it inside `with losses.per_target_loss.of_modalities("
                "modalities):`."
            )
        modalities = ops.cast(ops.reshape(modalities, (-1,)), "int32")
        return ops.take(device_constant(_rows, rows, like=values), modalities, axis=0)

    def result(self):
        scores = mean_or_nan(self.totals, self.counts)
        seen = ops.convert_to_tensor(self.counts) > device_number(0, like=scores)
        known = ops.where(seen, scores, device_number(0, like=scores))
        mean = mean_or_nan(ops.sum(known), ops.sum(ops.cast(seen, "float32")))
        return {"masks_dice": mean} | {
            f"dice_{modality}/{target}": scores[row, column]
            for row, (modality, targets) in enumerate(self._names().items())
            for column, target in enumerate(targets)
        }

    def get_config(self):
        config = super().get_config()
        config.pop("target")
        return {**config, "names": self._names()}


def _rows(count):
    return np.eye(count, dtype="float32")


def _shown(counts):
    return (np.arange(max(counts)) < np.array(counts)[:, None]).astype("float32")
