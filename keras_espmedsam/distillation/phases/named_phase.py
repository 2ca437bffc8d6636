"""Look up a phase by its name."""

from collections.abc import Callable

from keras_espmedsam.distillation.phases.distillation_phase import DistillationPhase
from keras_espmedsam.distillation.phases.student_phase import StudentPhase
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.registries import distillation_phases


def named_phase(name: str) -> DistillationPhase:
    """Return the phase of a name in `distillation_phases`.

    Args:
        name: such as `"controllers"`.

    Raises:
        InputError: for an unknown name, or an entry that is not a phase.

    Example:
        >>> named_phase("common").epochs
        20
    """
    entry = distillation_phases.load(name)
    phase = entry() if isinstance(entry, type) else entry
    if not isinstance(phase, DistillationPhase):
        raise InputError(
            f"The distillation phase {name!r} is of type {type(phase).__name__}; expected a class "
            "derived from keras_espmedsam.distillation.phases.DistillationPhase."
        )
    return phase


def named_student_phase(name: str) -> StudentPhase:
    """Like `named_phase`, for phases that train the student.

    Raises:
        InputError: for another name; the message lists the known ones.

    Example:
        >>> named_student_phase("common").trains
        'student'
    """
    if name in distillation_phases:
        phase = named_phase(name)
        if isinstance(phase, StudentPhase):
            return phase
    known = phases_with(lambda phase: isinstance(phase, StudentPhase))
    raise InputError(
        f"Received phase={name!r}; expected one of {', '.join(known)}{did_you_mean(name, known)}"
    )


def phases_with(condition: Callable[[DistillationPhase], bool]) -> list[str]:
    """Return the names of the phases that meet a condition, for messages.

    Args:
        condition: function of a `DistillationPhase`.
    """
    names = []
    for name in distillation_phases:
        try:
            phase = named_phase(name)
        except InputError:  # A broken phase of another package, which is not the topic here.
            continue
        if condition(phase):
            names.append(name)
    return names
