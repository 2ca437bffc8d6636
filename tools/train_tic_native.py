"""Train the preset `espmedsam_tic_native` from scratch with plain `model.fit`.

    ESPMEDSAM_DATA=/path/to/data python tools/train_tic_native.py --output runs/tic_native

The data and their shares are those of `examples/configs/nano_256`; the encoder is a TiC, and
images are segmented at their own size. A first phase shows whole images resized to 128 x 128,
the second parts of 256 x 256 at native scale, the third canvases of 384 x 384, on which most
images are whole. Stopped at any moment, the same command goes on from the last finished epoch.
"""

import dataclasses

from nano_recipe import main

import keras_espmedsam as kem
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import MODALITIES
from keras_espmedsam.training import MEDICAL_RANGES

# What no resizing evens out must be learnt: cameras and microscopes differ in pixels per vessel
# and nucleus. Fundus cameras of 1400 pixels show 2.5 times those of the data.
SCALES = {"fundus": (0.8, 2.6), "microscopy": (0.7, 3.0)}
NATIVE_AUGMENT = {
    modality: dataclasses.replace(
        augmentation,
        scale=SCALES.get(modality, (0.7, 1.4)),
        blur=0.2 if modality == "microscopy" else 0.0,
    )
    for modality, augmentation in MEDICAL_RANGES.items()
}

PHASES = (
    dict(
        name="128",
        size=128,
        batch_size=32,
        epochs=6,
        steps=100,
        rate=1.5e-3,
        final=5e-4,
        augment=MEDICAL_RANGES,
    ),
    dict(
        name="native_256",
        size=256,
        batch_size=16,
        epochs=3,
        steps=120,
        rate=1e-3,
        final=3e-4,
        augment=NATIVE_AUGMENT,
        native=True,
    ),
    dict(
        name="native_384",
        size=384,
        batch_size=7,
        epochs=2,
        steps=60,
        rate=4e-4,
        warmup=30,
        final=1e-6,
        augment=NATIVE_AUGMENT,
        native=True,
    ),
)


def build_segmenter():
    """The native configuration (ours), randomly initialised."""
    encoder = kem.models.TiCBackbone(
        hidden_dims=(24, 64, 128, 192),
        depths=(1, 1, 3, 2),
        num_heads=(1, 2, 4, 6),
        kernel_size=7,
        shift_size=7,
        pool_size=4,
        neck_dim=96,
        neck_levels=(0, 1, 2, 3),
        output_stride=8,
        num_modalities=len(MODALITIES),
        adapter_ratio=1,
        adapter_zero_init=True,
    )
    backbone = kem.models.ESPMedSAMBackbone(
        encoder, transformer_num_heads=4, transformer_mlp_dim=256
    )
    converter = kem.models.ESPMedSAMImageConverter(image_size=None)
    preprocessor = kem.models.ESPMedSAMImageSegmenterPreprocessor(converter)
    return kem.models.ESPMedSAMImageSegmenter(backbone, preprocessor)


if __name__ == "__main__":
    main(__doc__.split("\n")[0], build_segmenter, PHASES, output="runs/tic_native")
