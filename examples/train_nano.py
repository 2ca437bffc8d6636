"""Train the preset `espmedsam_nano_256` from scratch with plain `model.fit`.

    ESPMEDSAM_DATA=/path/to/data python examples/train_nano.py --output runs/nano

The data folder holds an `index.csv` with the columns split, modality, dataset, image, mask. Only
the train split is learnt from; val chooses the weights. A first phase at 128 x 128 sees four times
the pictures in the same time; the second continues at 256 x 256. Stopped at any moment, the same
command goes on from the last finished epoch.
"""

import argparse
import json
import os
import pathlib

import keras

import keras_espmedsam as kem
from keras_espmedsam.data import read_index
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import MODALITIES
from keras_espmedsam.training import Augmentation, SegmentationDataset

# Shares of the data sets in a batch: the hard ones (polyps, breast lesions) are seen more often.
WEIGHTS = {
    "cvc_clinicdb": 0.26,
    "busi": 0.22,
    "isic2018": 0.16,
    "dsb2018": 0.12,
    "drive": 0.14,
    "shenzhen": 0.10,
}

AUGMENT = {
    "dermoscopy": Augmentation(vertical_flip=0.5, right_angles=True, rotation=30),
    "xray": Augmentation(scale=(0.85, 1.15), rotation=10, brightness=0.3, contrast=0.3),
    "ultrasound": Augmentation(rotation=15, brightness=0.3, contrast=0.3),
    "fundus": Augmentation(vertical_flip=0.5, rotation=30, scale=(0.85, 1.5), contrast=0.3),
    "microscopy": Augmentation(vertical_flip=0.5, right_angles=True, contrast=0.3),
    "colonoscopy": Augmentation(vertical_flip=0.5, right_angles=True, rotation=30, contrast=0.3),
}

# At the full size nuclei are also shown enlarged: the data set's are all small.
FINAL_AUGMENT = {
    **AUGMENT,
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
        augment=AUGMENT,
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


class DrawNewPictures(keras.callbacks.Callback):
    """Tell the data set which epoch it is, so that a resumed run draws what it would have."""

    def __init__(self, dataset):
        super().__init__()
        self.dataset = dataset

    def on_epoch_begin(self, epoch, logs=None):
        self.dataset.epoch = epoch


def run_phase(segmenter, phase, index, output, seed):
    """Train one phase, or skip it when it is done; leaves its best weights in the model."""
    folder = output / phase["name"]
    folder.mkdir(parents=True, exist_ok=True)
    best = folder / "best.weights.h5"
    done = folder / "done.json"
    size = (phase["size"], phase["size"])
    segmenter.preprocessor.image_converter.image_size = size
    if done.exists():
        segmenter.load_weights(best)
        return
    options = dict(modalities=segmenter.modalities, image_size=size)
    train = SegmentationDataset(
        read_index(index, ["train"]),
        batch_size=phase["batch_size"],
        steps=phase["steps"],
        weights=WEIGHTS,
        augment=phase["augment"],
        seed=seed,
        workers=1,
        **options,
    )
    val = SegmentationDataset(read_index(index, ["val"]), batch_size=16, **options)
    total = phase["epochs"] * phase["steps"]
    schedule = keras.optimizers.schedules.CosineDecay(
        phase["rate"] * 0.05,
        decay_steps=total - 100,
        alpha=phase["final"] / phase["rate"],
        warmup_target=phase["rate"],
        warmup_steps=100,
    )
    segmenter.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=0.05, global_clipnorm=1.0)
    )
    history = segmenter.fit(
        train,
        validation_data=val,
        epochs=phase["epochs"],
        verbose=2,
        callbacks=[
            DrawNewPictures(train),
            keras.callbacks.BackupAndRestore(folder / "backup", delete_checkpoint=False),
            keras.callbacks.ModelCheckpoint(
                best,
                monitor="val_masks_dice",
                mode="max",
                save_best_only=True,
                save_weights_only=True,
            ),
            keras.callbacks.CSVLogger(folder / "log.csv", append=True),
        ],
    )
    segmenter.load_weights(best)
    done.write_text(json.dumps({"epochs": len(history.epoch)}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default=os.environ.get("ESPMEDSAM_DATA"))
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/nano"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("give --data, or set ESPMEDSAM_DATA, to the folder that holds index.csv")
    keras.utils.set_random_seed(arguments.seed)
    segmenter = build_segmenter()
    index = pathlib.Path(arguments.data) / "index.csv"
    for phase in PHASES:
        run_phase(segmenter, phase, index, arguments.output, arguments.seed)
    segmenter.save_to_preset(arguments.output / "preset")
    print(f"Preset written to {arguments.output / 'preset'}")


if __name__ == "__main__":
    main()
