"""A phase by its name."""

from collections.abc import Callable

from keras_espmedsam.distillation.phases.distillation_phase import DistillationPhase
from keras_espmedsam.distillation.phases.student_phase import StudentPhase
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.registries import distillation_phases


def named_phase(name: str) -> DistillationPhase:
    """The phase that a name of `distillation_phases` stands for.

    Args:
        name: such as `"controllers"`.

    Raises:
        InputError: for an unknown name, or an entry that is no phase.

    Example:
        >>> named_phase("common").epochs
        20

    Source: ours.
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
    """As `named_phase`, of those that train the student.

    Raises:
        InputError: for another name; the message lists those that there are.

    Source: ours.
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
    """The names of the phases for which a condition holds, for messages.

    Args:
        condition: function of a `DistillationPhase`.

    Source: ours.
    """
    names = []
    for name in distillation_phases:
        try:
            phase = named_phase(name)
        except InputError:  # Of another package, and not what this message is about.
            continue
        if condition(phase):
            names.append(name)
    return names
