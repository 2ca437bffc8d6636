"""Phase 1: common knowledge."""

from keras_espmedsam.distillation.phases.student_phase import StudentPhase


class CommonPhase(StudentPhase):
    """Images of any kind, without controllers, train the shared encoder.

    Source: ESP-MedSAM (arXiv 2407.14153), phase 1.
    """

    learning_rate, epochs = 1e-3, 20
    keys = ("common_batch_size", "losses")
    needs = ("common_teachers", "common_data")
    streams = ("common",)
