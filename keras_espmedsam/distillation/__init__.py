"""Multi-Modal Decoupled Knowledge Distillation: teachers, losses and the model that trains.

All but `copy_decoder` is loaded when first used: a configuration is checked without Keras, and
without pydantic there is all but the configurations.
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
    from keras_espmedsam.distillation.teacher import Teacher as Teacher
    from keras_espmedsam.distillation.teacher_cache import TeacherCache as TeacherCache

_MODULES = {
    "DecoupledDistiller": "distiller",
    "DistillConfig": "config",
    "DistillationDataset": "distillation_dataset",
    "FeatureLoss": "feature_loss",
    "Teacher": "teacher",
    "TeacherCache": "teacher_cache",
    "distill": "distillation_run",
}

__all__ = ["copy_decoder", *_MODULES]


# Unseen by type checkers, so that they find a name that there is not.
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


# Keras finds the classes that a saved distiller names once they are defined: whoever imports this
# package beside Keras, as to load one, need not name them.
if "keras" in sys.modules:
    for _name in ("DecoupledDistiller", "FeatureLoss", "Teacher"):
        getattr(sys.modules[__name__], _name)
