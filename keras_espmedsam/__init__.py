"""ESP-MedSAM for Keras 3: medical image segmentation without prompts.

    import keras_espmedsam as kem

    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset("espmedsam_nano_256")
    masks = segmenter.segment(image, "fundus")["masks"]

The parts are loaded when first used: `import keras` costs seconds, and `espmedsam --help` need
not wait for it.
"""

import contextlib
import importlib
from typing import TYPE_CHECKING

from keras_espmedsam import _renamed
from keras_espmedsam._compile_cache import compile_cache
from keras_espmedsam._startup import choose_backend

__version__ = "0.1.0"

_PARTS = (
    "checkpoints",
    "data",
    "distillation",
    "errors",
    "evaluation",
    "export",
    "hub",
    "inference",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "optimizers",
    "registries",
    "training",
)

__all__ = ["__version__", "compile_cache", *_PARTS]


# For editors and type checkers, which do not run what follows.
if TYPE_CHECKING:
    from keras_espmedsam import data as data
    from keras_espmedsam import distillation as distillation
    from keras_espmedsam import errors as errors
    from keras_espmedsam import evaluation as evaluation
    from keras_espmedsam import export as export
    from keras_espmedsam import hub as hub
    from keras_espmedsam import inference as inference
    from keras_espmedsam import layers as layers
    from keras_espmedsam import losses as losses
    from keras_espmedsam import metrics as metrics
    from keras_espmedsam import models as models
    from keras_espmedsam import ops as ops
    from keras_espmedsam import optimizers as optimizers
    from keras_espmedsam import registries as registries
    from keras_espmedsam import training as training

_renamed.install()

# Before any part imports Keras, which would insist on TensorFlow where only another backend is
# installed. With none installed, the parts that need no Keras still work.
with contextlib.suppress(ImportError):
    choose_backend()


# As keras_espmedsam.training does, by itself: it would be the only use of the library lazy_loader.
# Unseen by type checkers, so that they find a name that there is not.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name in _PARTS:
            return importlib.import_module(f"keras_espmedsam.{name}")
        raise AttributeError(f"module 'keras_espmedsam' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
