"""Phase 3: domain knowledge."""

from keras_espmedsam.distillation.phases.student_phase import StudentPhase


class ControllersPhase(StudentPhase):
    """Images of modality k train controller k; the shared encoder and its statistics are frozen.

    Source: ESP-MedSAM (arXiv 2407.14153), phase 3.
    """

    learning_rate, epochs = 5e-4, 200
    keys = ("one_modality_per_batch", "losses", "copy_decoder")
    needs = ("data", "medical_teacher")
    one_modality_per_batch = True
    trains_controllers = True
