"""Compare a feature of the student with a feature of the teacher."""

import keras

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.other_packages import deserialize_with_others
from keras_espmedsam.losses.named_loss import named_loss
from keras_espmedsam.registries import feature_losses


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class FeatureLoss:
    """One term of a distillation loss: a student's feature, a teacher's, and their distance.

    Args:
        student: str. The student's feature: `"embedding"`, or for encoders of this package
            `"stage_0"`, ...
        teacher: str or None. The teacher's feature: `"embedding"`; `"stage_0"` or `"block_0"` and
            so on for encoders of this package; the name of a layer for any other functional
            model. `None` is the student's.
        loss: `"mse"` (as published), `"cosine"`, `"normalized_mse"`, or another name of
            `keras_espmedsam.registries.feature_losses`; a dict of such a `name` and arguments of
            its class; or a `keras.losses.Loss` of features `(batch, height, width, channels)`.
        weight: float. Factor of the term.
        name: str or None. Name of the metric; `None` is the student's feature and the loss.

    If the widths differ, a 1 x 1 convolution maps the student's feature to the teacher's width; it
    is trained with the student and dropped afterwards. If the grids differ, the teacher's feature
    is resized to the student's.

    Raises:
        InputError: for an unknown loss, or a weight that is not above zero.

    Example:
        >>> FeatureLoss("stage_2", "block_5", loss="cosine", weight=0.5).name
        'stage_2_cosine'

    Source: ESP-MedSAM (arXiv 2407.14153), the MSE of embeddings.
    """

    def __init__(self, student="embedding", teacher=None, loss="mse", weight=1.0, name=None):
        if not weight > 0:
            raise InputError(f"Received weight={weight}; expected a number above 0.")
        self.student = student
        self.teacher = teacher or student
        self.loss = named_loss(feature_losses, loss, shape=(2, 4, 4, 2))
        self.weight = float(weight)
        given = loss.get("name") if isinstance(loss, dict) else loss
        short = given if isinstance(given, str) else self.loss.name
        self.name = name or f"{student}_{short}"

    def __call__(self, target, feature):
        """Return the weighted distance, a scalar: mean over the batch."""
        return self.weight * self.loss(target, feature)

    def get_config(self):
        return {
            "student": self.student,
            "teacher": self.teacher,
            "loss": keras.saving.serialize_keras_object(self.loss),
            "weight": self.weight,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        loss = deserialize_with_others(config["loss"], feature_losses)
        return cls(**{**config, "loss": loss})
