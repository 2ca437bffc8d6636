"""The images of the comparison: the first target of each modality, splits as the index gives them.

Training batches are those of `examples/configs/pretrained.yaml`: its data sets, how often each is
drawn, its augmentation and appearance, its sizes of images and batches.
"""

import dataclasses
import functools
import os
import pathlib

import numpy as np

from keras_espmedsam.data import read_index

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = ROOT / "examples" / "configs" / "pretrained.yaml"
# The first target of each modality, in the order of the channels of networks with several.
TARGETS = {
    "dermoscopy": "lesion",
    "xray": "lungs",
    "ultrasound": "lesion",
    "fundus": "vessels",
    "microscopy": "nuclei",
    "colonoscopy": "polyp",
}
MODALITIES = tuple(TARGETS)
SPLITS = ("test", "unseen")
# The share of the budget in which images are small: what the configuration's two phases take.
SMALL_SHARE = 0.125


class PeerData:
    """What peers train on and are measured on.

    Args:
        index: path of the index; by default index2.csv in the folder ESPMEDSAM_DATA.
    """

    def __init__(self, index=None):
        self.index = pathlib.Path(index or pathlib.Path(os.environ["ESPMEDSAM_DATA"], "index2.csv"))
        self.folder = self.index.parent

    def records(self, *splits):
        """Return the records of some splits, each with the first target of its modality alone."""
        found = []
        for record in read_index(self.index, splits):
            first = TARGETS.get(record.modality)
            own = tuple(one for one in record.target_masks if one.target == first)
            if own:
                found.append(dataclasses.replace(record.without_masks(), targets=own))
        return found

    @functools.cached_property
    def config(self):
        """The checked configuration, for one target of each modality."""
        from keras_espmedsam.training.config.settings import load_settings
        from keras_espmedsam.training.config.train_config import TrainConfig

        return load_settings(TrainConfig, CONFIG, list(self.changes().items()))

    def changes(self):
        """Return the changes of the configuration that leave one target of each modality."""
        source = _source(CONFIG)
        targets = {modality: [target] for modality, target in TARGETS.items()}
        return {
            "data.sources": [{**source, "index": str(self.index), "targets": targets}],
            "model.targets": None,
            "model.nested": None,
            "model.instances": None,
            # A peer's environment has no backbone to begin with, and needs none.
            "model.encoder.preset": os.environ.get("ESPMEDSAM_LITE0", "efficientnet_lite0"),
        }

    def training_records(self):
        """Return the records of the training images."""
        from keras_espmedsam.training.data.read_sources import read_sources

        return read_sources(self.config.data)["train"]


def _source(path):
    from keras_espmedsam.training.config.yaml_text import read_yaml

    (source,) = read_yaml(path, f"The file {path}")["data"]["sources"]
    # drishti_gs has discs and cups alone.
    return {**source, "datasets": [one for one in source["datasets"] if one != "drishti_gs"]}


class TrainingBatches:
    """The batches of a training, by the number of the step and the share of the budget.

    Args:
        data: `PeerData`.
        seed: int.
        small_share: float. Share of the budget at the size of the configuration's first phase.

    Call: `batches(step, share)` returns uint8 images `(batch, height, width, 3)`, modalities
    `(batch,)` as numbers, and masks `(batch, height, width, 1)` in {0, 1}.
    """

    def __init__(self, data, seed, small_share=SMALL_SHARE):
        self.small_share = small_share
        phases = data.config.phases
        self._sets = [functools.cache(lambda p=p: _dataset(data, p, seed)) for p in phases]

    def __call__(self, step, share):
        dataset = self._sets[share >= self.small_share]()
        dataset.epoch, number = divmod(step, dataset.num_batches)
        x, masks = dataset[number]
        return x["images"], x["modalities"], np.asarray(masks, "float32")


def _dataset(data, phase, seed):
    from keras_espmedsam.training.data.make_augmentation import make_augmentation
    from keras_espmedsam.training.data.segmentation_dataset import SegmentationDataset

    config, records = data.config, data.training_records()
    return SegmentationDataset(
        records,
        MODALITIES,
        phase.image_size,
        batch_size=phase.batch_size,
        steps=phase.steps,
        weights=config.data.weights,
        balance=config.data.balance,
        augment=make_augmentation(
            config.augmentation, MODALITIES, records, appearance=config.appearance
        ),
        seed=seed,
    )
