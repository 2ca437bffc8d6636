"""Models: image encoder, ESP-MedSAM backbone, and (task) image segmenter."""

from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import ESPMedSAMBackbone
from keras_espmedsam.models.tiny_vit.tiny_vit_backbone import TinyViTBackbone

__all__ = ["ESPMedSAMBackbone", "TinyViTBackbone"]
