"""Phases 1 and 3 at once."""

from keras_espmedsam.distillation.phases.student_phase import StudentPhase


class BothPhase(StudentPhase):
    """Common and domain knowledge at once, each image on its own part of the encoder.

    Source: ESP-MedSAM (arXiv 2407.14153), the rate. Departs from the paper: phases 1 and 3 are
    merged.
    """

    learning_rate, epochs = 5e-4, 200
    keys = ("common_batch_size", "one_modality_per_batch", "losses", "copy_decoder")
    needs = ("common_teachers", "common_data", "data", "medical_teacher")
    streams = ("common", "domain")
    trains_controllers = True
