"""Compare the masks of the student with those of a teacher."""

import keras

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.other_packages import deserialize_with_others
from keras_espmedsam.losses import DiceCELoss, PerTargetLoss
from keras_espmedsam.losses.named_loss import named_loss
from keras_espmedsam.registries import losses

MASKS = "masks"
"""The name of the masks among the features that a teacher gives."""


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class MaskLoss:
    """One term of a distillation loss: the teacher's masks, as probabilities, are the truth.

    Each target of the student learns from the teacher's target of the same name, in images of the
    same modality; see `MatchedTargets`. Targets that the teacher lacks learn nothing from it.

    Args:
        loss: `None`, the cross-entropy of teacher and student (for targets that exclude each
            other, that of the whole group and its background), which is smallest where the two
            agree; a name of `keras_espmedsam.registries.losses`, such as `"standard"`; a dict of
            such a `name` and arguments of its class; or a `keras.losses.Loss` of one mask with a
            value per image or pixel.
        weight: float. Factor of the term.
        name: str or None. Name of the metric; `None` is `masks_` and the loss.

    Raises:
        InputError: for an unknown loss, one of the whole batch (`"published"`), or a weight that
            is not above zero.

    Example:
        >>> MaskLoss().name, MaskLoss("standard", weight=0.5).name
        ('masks_cross_entropy', 'masks_standard')

    Source: Hinton et al. (arXiv 1503.02531), soft targets.
    """

    student = teacher = MASKS

    def __init__(self, loss=None, weight=1.0, name=None):
        if not weight > 0:
            raise InputError(f"Received weight={weight}; expected a number above 0.")
        given = loss.get("name") if isinstance(loss, dict) else loss
        if loss is None:
            given, loss = "cross_entropy", DiceCELoss(dice_weight=0.0)
        self.loss = named_loss(losses, loss, shape=(2, 4, 4, 1))
        self.of_targets()  # Refuses what has one value for the whole batch.
        self.weight = float(weight)
        short = given if isinstance(given, str) else self.loss.name
        self.name = name or f"{MASKS}_{short}"

    def of_targets(self, groups=()):
        """Return the loss of masks with a channel for each target.

        Args:
            groups: the channels' exclusive groups; see `PerTargetLoss`.

        Example:
            >>> type(MaskLoss().of_targets()).__name__
            'PerTargetLoss'
        """
        exclusive = self.loss if isinstance(self.loss, DiceCELoss) else None
        return PerTargetLoss(self.loss, exclusive, groups)

    def get_config(self):
        return {
            "loss": keras.saving.serialize_keras_object(self.loss),
            "weight": self.weight,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "loss": deserialize_with_others(config["loss"], losses)})
