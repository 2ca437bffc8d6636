"""Multi-Modal Decoupled Knowledge Distillation: teachers, losses and the model that trains."""

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
]
