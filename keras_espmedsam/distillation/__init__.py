"""Multi-Modal Decoupled Knowledge Distillation: teachers, losses and the model that trains."""

import importlib

from keras_espmedsam._startup import require
from keras_espmedsam.distillation.copy_decoder import copy_decoder
from keras_espmedsam.distillation.distillation_dataset import DistillationDataset
from keras_espmedsam.distillation.distiller import DecoupledDistiller
from keras_espmedsam.distillation.feature_loss import FeatureLoss
from keras_espmedsam.distillation.teacher import Teacher
from keras_espmedsam.distillation.teacher_cache import TeacherCache

__all__ = [
    "DecoupledDistiller",
    "DistillationDataset",
    "FeatureLoss",
    "Teacher",
    "TeacherCache",
    "copy_decoder",
    "distill",
]


def __getattr__(name):
    if name != "distill":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Nothing else here needs what reads configurations.
    for module in ("pydantic", "yaml"):
        require(module, "Distillation by a configuration", "train")
    return importlib.import_module(f"{__name__}.distillation_run").distill
