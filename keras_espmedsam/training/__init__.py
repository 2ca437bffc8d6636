"""Training on images from disk, in runs that resume after an interruption.

Names are loaded on first use, so that a configuration is checked without Keras, and everything
except configurations works without pydantic.
"""

import importlib
from typing import TYPE_CHECKING

from keras_espmedsam._startup import require

if TYPE_CHECKING:
    from keras_espmedsam.distillation.config import DistillConfig as DistillConfig
    from keras_espmedsam.training.build_segmenter import (
        checkpoint_gradients as checkpoint_gradients,
    )
    from keras_espmedsam.training.config.train_config import TrainConfig as TrainConfig
    from keras_espmedsam.training.data.appearance.appearance_transform import (
        AppearanceTransform as AppearanceTransform,
    )
    from keras_espmedsam.training.data.appearance.make_appearance import (
        make_appearance as make_appearance,
    )
    from keras_espmedsam.training.data.augmentation import Augmentation as Augmentation
    from keras_espmedsam.training.data.medical_ranges import MEDICAL_RANGES as MEDICAL_RANGES
    from keras_espmedsam.training.data.segmentation_dataset import (
        SegmentationDataset as SegmentationDataset,
    )
    from keras_espmedsam.training.devices.distribution import Devices as Devices
    from keras_espmedsam.training.devices.distribution import distribute as distribute
    from keras_espmedsam.training.run.run_folder import RunFolder as RunFolder
    from keras_espmedsam.training.trainable_parts import select_trainable as select_trainable
    from keras_espmedsam.training.training_run import train as train

_MODULES = {
    "MEDICAL_RANGES": "data.medical_ranges",
    "AppearanceTransform": "data.appearance.appearance_transform",
    "Augmentation": "data.augmentation",
    "Devices": "devices.distribution",
    "RunFolder": "run.run_folder",
    "SegmentationDataset": "data.segmentation_dataset",
    "DistillConfig": ".distillation.config",
    "TrainConfig": "config.train_config",
    "checkpoint_gradients": "build_segmenter",
    "distribute": "devices.distribution",
    "make_appearance": "data.appearance.make_appearance",
    "select_trainable": "trainable_parts",
    "train": "training_run",
}

__all__ = list(_MODULES)


# The library lazy_loader cannot name the extra that a name needs, and would be another dependency.
# Hidden from type checkers, so that they still report unknown names.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name in ("DistillConfig", "TrainConfig", "train"):
            for module in ("pydantic", "yaml"):
                require(module, "Training by a configuration", "train")
        return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)


def __dir__():
    return sorted(__all__)
