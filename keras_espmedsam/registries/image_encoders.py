"""Image encoders, as `model.encoder.kind` of a configuration names them.

An entry is a class derived from `keras_espmedsam.models.image_encoder.ImageEncoder`, and
registered with Keras (`keras.saving.register_keras_serializable`), so that presets can be loaded
again.
"""

from keras_espmedsam.registries.registry import Registry

image_encoders = Registry(
    "image_encoders",
    "image encoder",
    {
        "tiny_vit": "keras_espmedsam.models.tiny_vit.tiny_vit_backbone:TinyViTBackbone",
        "tic": "keras_espmedsam.models.tic.tic_backbone:TiCBackbone",
        "keras_hub": "keras_espmedsam.models.keras_hub_encoder:KerasHubImageEncoder",
        "vit_med": "keras_espmedsam.models.vit_med.vit_med_backbone:ViTMedBackbone",
    },
)
