"""Training data from pictures on disk, and runs that go on after an interruption."""

from keras_espmedsam.training.augmentation import Augmentation
from keras_espmedsam.training.run_folder import RunFolder
from keras_espmedsam.training.segmentation_dataset import SegmentationDataset

__all__ = ["Augmentation", "RunFolder", "SegmentationDataset"]
