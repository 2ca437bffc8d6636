"""Training data from images on disk, and runs that go on after an interruption.

The names are loaded when first used: a configuration is checked without Keras, and without
pydantic there is all but the configurations.
"""

import importlib

from keras_espmedsam._startup import require

_MODULES = {
    "MEDICAL_RANGES": "data.medical_ranges",
    "Augmentation": "data.augmentation",
    "Devices": "devices.distribution",
    "RunFolder": "run.run_folder",
    "SegmentationDataset": "data.segmentation_dataset",
    "DistillConfig": ".distillation.config",
    "TrainConfig": "config.train_config",
    "checkpoint_gradients": "build_segmenter",
    "distribute": "devices.distribution",
    "select_trainable": "trainable_parts",
    "train": "training_run",
}

__all__ = list(_MODULES)


# The library lazy_loader cannot name the extra that a name needs, and would be one more dependency.
def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in ("DistillConfig", "TrainConfig", "train"):
        for module in ("pydantic", "yaml"):
            require(module, "Training by a configuration", "train")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)


def __dir__():
    return sorted(__all__)
