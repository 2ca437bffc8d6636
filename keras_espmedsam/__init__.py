"""ESP-MedSAM for Keras 3: medical image segmentation without prompts.

    import keras_espmedsam as kem

    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset("espmedsam_nano_256")
    masks = segmenter.segment(image, "fundus", targets="vessels")["masks"]

The parts are loaded when they are first used, because `import keras` takes seconds and
`espmedsam --help` does not need it.
"""

import contextlib
import importlib
from typing import TYPE_CHECKING

from keras_espmedsam import _renamed
from keras_espmedsam._compile_cache import compile_cache
from keras_espmedsam._startup import choose_backend

__version__ = "0.1.0"

_PARTS = (
    "archive",
    "converters",
    "data",
    "dicom",
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
    "serve",
    "training",
)

__all__ = ["__version__", "compile_cache", *_PARTS]


# For editors and type checkers, which do not run `__getattr__`.
if TYPE_CHECKING:
    from keras_espmedsam import archive as archive
    from keras_espmedsam import converters as converters
    from keras_espmedsam import data as data
    from keras_espmedsam import dicom as dicom
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
    from keras_espmedsam import serve as serve
    from keras_espmedsam import training as training

_renamed.install()

# Before any part imports Keras, which would insist on TensorFlow even if only another backend is
# installed. Without any backend, the parts that do not need Keras still work.
with contextlib.suppress(ImportError):
    choose_backend()


# Written by hand, as in keras_espmedsam.training, instead of adding the dependency lazy_loader.
# Hidden from type checkers, so that they report names that do not exist.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name in _PARTS or name == "checkpoints":  # The name of `converters` in 0.1.0.
            return importlib.import_module(f"keras_espmedsam.{name}")
        raise AttributeError(f"module 'keras_espmedsam' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
