"""The phases of a distillation, one per file, and their base classes. Works without Keras."""

from keras_espmedsam.distillation.phases.distillation_phase import DistillationPhase
from keras_espmedsam.distillation.phases.named_phase import named_phase, named_student_phase
from keras_espmedsam.distillation.phases.student_phase import StudentPhase

__all__ = ["DistillationPhase", "StudentPhase", "named_phase", "named_student_phase"]
