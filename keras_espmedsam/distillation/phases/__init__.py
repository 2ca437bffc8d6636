"""The phases of a distillation, a file for each, and what a new one derives from. Without Keras."""

from keras_espmedsam.distillation.phases.distillation_phase import DistillationPhase
from keras_espmedsam.distillation.phases.named_phase import named_phase, named_student_phase
from keras_espmedsam.distillation.phases.student_phase import StudentPhase

__all__ = ["DistillationPhase", "StudentPhase", "named_phase", "named_student_phase"]
