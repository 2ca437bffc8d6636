"""Train the preset `espmedsam_nano_256` from scratch with plain `model.fit`.

    ESPMEDSAM_DATA=/path/to/data python examples/train_nano.py --output runs/nano

The data folder holds an `index.csv` with the columns split, modality, dataset, image, mask. Only
the train split is learnt from; val chooses the weights. A first phase at 128 x 128 sees four times
the pictures in the same time; the second continues at 256 x 256. Stopped at any moment, the same
command goes on from the last finished epoch.
"""

from nano_recipe import main

import keras_espmedsam as kem
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import MODALITIES
from keras_espmedsam.training import MEDICAL_RANGES, Augmentation

# At the full size nuclei are also shown enlarged: the data set's are all small.
FINAL_AUGMENT = {
    **MEDICAL_RANGES,
    "microscopy": Augmentation(
        vertical_flip=0.5, right_angles=True, contrast=0.3, scale=(0.7, 3.5), blur=0.2
    ),
}

PHASES = (
    dict(
        name="128",
        size=128,
        batch_size=32,
        epochs=14,
        steps=100,
        rate=1.5e-3,
        final=5e-4,
        augment=MEDICAL_RANGES,
    ),
    dict(
        name="256",
        size=256,
        batch_size=16,
        epochs=12,
        steps=100,
        rate=1e-3,
        final=1e-6,
        augment=FINAL_AUGMENT,
    ),
)


def build_segmenter():
    """The nano configuration (ours), randomly initialised."""
    encoder = kem.models.TinyViTBackbone(
        hidden_dims=(24, 64, 128, 192),
        depths=(1, 2, 4, 2),
        num_heads=(2, 4, 6),
        window_sizes=(8, 8, 8),
        strides=(2, 2, 2),
        expand_ratio=3,
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
    converter = kem.models.ESPMedSAMImageConverter(image_size=(256, 256))
    preprocessor = kem.models.ESPMedSAMImageSegmenterPreprocessor(converter)
    return kem.models.ESPMedSAMImageSegmenter(backbone, preprocessor)


if __name__ == "__main__":
    main(__doc__.split("\n")[0], build_segmenter, PHASES, output="runs/nano")
