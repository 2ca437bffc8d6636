"""Training data from pictures on disk: balanced sampling and augmentation."""

from keras_espmedsam.training.augmentation import Augmentation
from keras_espmedsam.training.segmentation_dataset import SegmentationDataset

__all__ = ["Augmentation", "SegmentationDataset"]
