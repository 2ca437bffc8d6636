"""What is chosen by name, a table for each family, and how other packages add to it.

Importing this does not import Keras: see `Registry`.
"""

from keras_espmedsam.registries.appearance_transforms import appearance_transforms
from keras_espmedsam.registries.distillation_phases import distillation_phases
from keras_espmedsam.registries.export_formats import export_formats
from keras_espmedsam.registries.feature_losses import feature_losses
from keras_espmedsam.registries.file_formats import file_formats
from keras_espmedsam.registries.image_encoders import image_encoders
from keras_espmedsam.registries.losses import losses
from keras_espmedsam.registries.metrics import metrics
from keras_espmedsam.registries.registry import Registry
from keras_espmedsam.registries.segment_codes import segment_codes

__all__ = [
    "Registry",
    "appearance_transforms",
    "distillation_phases",
    "export_formats",
    "feature_losses",
    "file_formats",
    "image_encoders",
    "losses",
    "metrics",
    "segment_codes",
]
