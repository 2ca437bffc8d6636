"""Train the whole student, from labels and from the medical teacher."""

from typing import Any

from keras_espmedsam.distillation.phases.student_phase import StudentPhase


class JointPhase(StudentPhase):
    """Everything trainable learns from labels and, if there is a teacher, from its features.

    Source: ESP-MedSAM (arXiv 2407.14153), the rate, which is that of the phase with labels. Departs
    from the paper: it has no such phase.
    """

    learning_rate, epochs = 1e-4, 50
    keys = ("one_modality_per_batch", "losses", "label_loss", "label_weight", "use_teacher")
    needs = ("data",)
    labels = True
    batch_statistics = ("domain",)

    def variables(self, backbone: Any, encoder: Any, stream: str) -> list[Any]:
        return list(backbone.trainable_variables)
