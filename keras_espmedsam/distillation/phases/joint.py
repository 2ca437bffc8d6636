"""The whole student, from labels and from the medical teacher."""

from typing import Any

from keras_espmedsam.distillation.phases.student_phase import StudentPhase


class JointPhase(StudentPhase):
    """All that is trainable learns from labels and, where there is a teacher, from its features.

    Source: ours, with the rate of the published phase of labels.
    """

    learning_rate, epochs = 1e-4, 50
    keys = ("one_modality_per_batch", "losses", "label_loss", "label_weight", "use_teacher")
    needs = ("data",)
    labels = True
    batch_statistics = ("domain",)

    def variables(self, backbone: Any, encoder: Any, stream: str) -> list[Any]:
        return list(backbone.trainable_variables)
