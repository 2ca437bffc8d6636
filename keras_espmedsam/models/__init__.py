"""Image encoders, the ESP-MedSAM backbone, and the tasks: segmenter and classifier."""

from keras_espmedsam.models.cloning import keep_class_in_clones
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import ESPMedSAMBackbone
from keras_espmedsam.models.esp_medsam.esp_medsam_image_converter import ESPMedSAMImageConverter
from keras_espmedsam.models.esp_medsam.esp_medsam_image_segmenter import ESPMedSAMImageSegmenter
from keras_espmedsam.models.esp_medsam.esp_medsam_image_segmenter_preprocessor import (
    ESPMedSAMImageSegmenterPreprocessor,
)
from keras_espmedsam.models.image_encoder import FeatureLevel, ImageEncoder, as_image_encoder
from keras_espmedsam.models.keras_hub_encoder import KerasHubImageEncoder
from keras_espmedsam.models.tic.tic_backbone import TiCBackbone
from keras_espmedsam.models.tic.tic_image_classifier import TiCImageClassifier
from keras_espmedsam.models.tic.tic_image_classifier_preprocessor import (
    TiCImageClassifierPreprocessor,
)
from keras_espmedsam.models.tic.tic_image_converter import TiCImageConverter
from keras_espmedsam.models.tiny_vit.tiny_vit_backbone import TinyViTBackbone
from keras_espmedsam.models.vit_med.vit_med_backbone import ViTMedBackbone

keep_class_in_clones()

__all__ = [
    "ESPMedSAMBackbone",
    "ESPMedSAMImageConverter",
    "ESPMedSAMImageSegmenter",
    "ESPMedSAMImageSegmenterPreprocessor",
    "FeatureLevel",
    "ImageEncoder",
    "KerasHubImageEncoder",
    "TiCBackbone",
    "TiCImageClassifier",
    "TiCImageClassifierPreprocessor",
    "TiCImageConverter",
    "TinyViTBackbone",
    "ViTMedBackbone",
    "as_image_encoder",
]
