"""What a distilled student's weights come from: its own beginning, and its teachers."""

from keras_espmedsam.distillation.config import DistillConfig, TeacherSettings
from keras_espmedsam.hub.checksums import file_sha256
from keras_espmedsam.hub.origins import TEACHER, Origin, origins_of
from keras_espmedsam.training.run.begun_from import begun_from


def distilled_from(config: DistillConfig) -> list[Origin]:
    """Return the origins of the student of a distillation: its own, and those of its teachers.

    Args:
        config: `DistillConfig`.

    Returns:
        List of `Origin`.

    Raises:
        InputError: for a preset whose origins cannot be read.
    """
    origins = begun_from(config.student)
    # A configuration may name teachers that none of its phases asks.
    asked = {key for phase in config.phases for key in phase.kind.needs}
    if "common_teachers" in asked:
        for teacher in config.common_teachers:
            origins += _of_teacher(teacher)
    if config.medical_teacher is not None:
        origins += begun_from(config.medical_teacher, TEACHER)
    return origins


def _of_teacher(teacher: TeacherSettings) -> list[Origin]:
    if teacher.file is not None:
        return [Origin(TEACHER, teacher.file.name, sha256=file_sha256(teacher.file))]
    return origins_of(teacher.preset or str(teacher.keras_hub), TEACHER)
