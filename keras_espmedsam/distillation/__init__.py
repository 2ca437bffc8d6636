"""Multi-Modal Decoupled Knowledge Distillation: teachers, losses and the model that trains.

Everything except `copy_decoder` is loaded on first use, so that a configuration is checked without
Keras, and everything except configurations works without pydantic.
"""

import importlib
import sys
from typing import TYPE_CHECKING

from keras_espmedsam._startup import require
from keras_espmedsam.distillation.copy_decoder import copy_decoder

if TYPE_CHECKING:
    from keras_espmedsam.distillation.config import DistillConfig as DistillConfig
    from keras_espmedsam.distillation.distillation_dataset import (
        DistillationDataset as DistillationDataset,
    )
    from keras_espmedsam.distillation.distillation_run import distill as distill
    from keras_espmedsam.distillation.distiller import DecoupledDistiller as DecoupledDistiller
    from keras_espmedsam.distillation.feature_loss import FeatureLoss as FeatureLoss
    from keras_espmedsam.distillation.mask_loss import MaskLoss as MaskLoss
    from keras_espmedsam.distillation.teacher import Teacher as Teacher
    from keras_espmedsam.distillation.teacher_cache import TeacherCache as TeacherCache

_MODULES = {
    "DecoupledDistiller": "distiller",
    "DistillConfig": "config",
    "DistillationDataset": "distillation_dataset",
    "FeatureLoss": "feature_loss",
    "MaskLoss": "mask_loss",
    "Teacher": "teacher",
    "TeacherCache": "teacher_cache",
    "distill": "distillation_run",
}

__all__ = ["copy_decoder", *_MODULES]


# Hidden from type checkers, so that they still report unknown names.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name in ("DistillConfig", "distill"):
            for module in ("pydantic", "yaml"):
                require(module, "Distillation by a configuration", "train")
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__():
    return sorted(__all__)


# Keras finds the classes of a saved distiller once they are defined, so importing this package
# together with Keras is enough to load one.
if "keras" in sys.modules:
    for _name in ("DecoupledDistiller", "FeatureLoss", "MaskLoss", "Teacher"):
        getattr(sys.modules[__name__], _name)
