"""Phases of a distillation, as `phase` of a configuration and of `DecoupledDistiller` name them.

An entry is a class derived from `keras_espmedsam.distillation.phases.DistillationPhase`, made
without arguments, in a module that is imported without Keras.
"""

from keras_espmedsam.registries.registry import Registry

_PACKAGE = "keras_espmedsam.distillation.phases"

distillation_phases = Registry(
    "distillation_phases",
    "distillation phase",
    {
        "common": f"{_PACKAGE}.common:CommonPhase",
        "teacher": f"{_PACKAGE}.teacher:TeacherPhase",
        "controllers": f"{_PACKAGE}.controllers:ControllersPhase",
        "both": f"{_PACKAGE}.both:BothPhase",
        "joint": f"{_PACKAGE}.joint:JointPhase",
    },
)
