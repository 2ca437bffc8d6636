"""Whether a student can learn from the teachers it is given."""

from keras_espmedsam.distillation.mask_loss import MaskLoss
from keras_espmedsam.errors import InputError


def check_teachers(phase, kind, common_teachers, domain_teachers, num_modalities):
    """Check that a phase has the teachers and controllers that it needs.

    Args:
        phase: str, its name.
        kind: `StudentPhase`.
        common_teachers, domain_teachers: dicts of `Teacher`.
        num_modalities: int, the student's controllers.

    Raises:
        InputError: with what is missing.
    """
    if "common" in kind.streams and not common_teachers:
        raise InputError(f"The phase {phase!r} needs common_teachers; received none.")
    if "medical_teacher" in kind.needs and not domain_teachers:
        raise InputError(f"The phase {phase!r} needs domain_teachers; received none.")
    if kind.trains_controllers and not num_modalities:
        raise InputError(
            f"The phase {phase!r} received a student without modality controllers; build "
            "its image encoder with num_modalities."
        )


def check_modalities(domain_teachers, modalities, terms):
    """Check that no teacher with controllers is to give embeddings of modalities it lacks.

    Args:
        domain_teachers: dict of `Teacher`, for `"domain"` or by modality.
        modalities: tuple, the student's.
        terms: list, their terms of the loss.

    Raises:
        InputError: with the teacher and the modalities.
    """
    if all(isinstance(term, MaskLoss) for term in terms):
        return
    for key, teacher in domain_teachers.items():
        wanted = modalities if key == "domain" else (key,)
        indices = zip(wanted, teacher.indices_of(wanted), strict=True)
        missing = [str(name) for name, index in indices if index < 0]
        if missing and teacher.num_modalities > 1:
            raise InputError(
                f"The teacher {teacher.name!r} has controllers of "
                f"{', '.join(map(str, teacher.modalities))}, and the student also has "
                f"{', '.join(missing)}, whose embeddings it cannot teach; give a dict with a "
                "teacher for each modality, or a MaskLoss alone."
            )
