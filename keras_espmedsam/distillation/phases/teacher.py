"""Phase 2: the medical teacher."""

from typing import Any

from keras_espmedsam.distillation.phases.distillation_phase import DistillationPhase

# The parts that the medical teacher adds to SAM and learns.
PARTS = ("adapters", "prompt_generator", "decoder", "queries")


class TeacherPhase(DistillationPhase):
    """The medical teacher learns from labels.

    Source: ESP-MedSAM (arXiv 2407.14153), phase 2.
    """

    learning_rate, epochs = 1e-4, 50
    keys = ("one_modality_per_batch", "label_loss", "parts")
    needs = ("data", "medical_teacher")
    trains = "medical_teacher"
    monitor = ("val_masks_dice", "max")
    one_modality_per_batch = True

    def begin(self, run: Any, settings: Any) -> tuple[Any, Any, Any]:
        # Imported here: configurations are checked before Keras is imported.
        from keras_espmedsam import losses
        from keras_espmedsam.distillation.labelled_part import LabelledPart
        from keras_espmedsam.models import ESPMedSAMImageSegmenter
        from keras_espmedsam.training import select_trainable

        teacher = run.medical_teacher()
        select_trainable(teacher, list(PARTS) if settings.parts is None else settings.parts)
        training, validation = run.datasets(settings, teacher, ("domain",), labels=True)
        # Without its preprocessor it takes the data set's batches, which are already prepared.
        model = ESPMedSAMImageSegmenter(teacher.backbone, None)
        targets = model.target_set
        model.compile(
            optimizer=run.optimizer(settings, model, training.num_batches),
            loss=losses.get(
                settings.label_loss,
                targets.num_channels,
                targets.group_numbers(),
            ),
        )
        return model, LabelledPart(training), LabelledPart(validation)
