"""Models: image encoder, ESP-MedSAM backbone, and (task) image segmenter."""

from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import ESPMedSAMBackbone
from keras_espmedsam.models.esp_medsam.esp_medsam_image_converter import ESPMedSAMImageConverter
from keras_espmedsam.models.esp_medsam.esp_medsam_image_segmenter import ESPMedSAMImageSegmenter
from keras_espmedsam.models.esp_medsam.esp_medsam_image_segmenter_preprocessor import (
    ESPMedSAMImageSegmenterPreprocessor,
)
from keras_espmedsam.models.tic.tic_backbone import TiCBackbone
from keras_espmedsam.models.tiny_vit.tiny_vit_backbone import TinyViTBackbone

__all__ = [
    "ESPMedSAMBackbone",
    "ESPMedSAMImageConverter",
    "ESPMedSAMImageSegmenter",
    "ESPMedSAMImageSegmenterPreprocessor",
    "TiCBackbone",
    "TinyViTBackbone",
]
