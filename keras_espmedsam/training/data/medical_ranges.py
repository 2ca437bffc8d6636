"""Augmentation ranges that keep images of each modality plausible."""

from keras_espmedsam.training.data.augmentation import Augmentation

MEDICAL_RANGES = {
    "dermoscopy": Augmentation(vertical_flip=0.5, right_angles=True, rotation=30),
    "xray": Augmentation(scale=(0.85, 1.15), rotation=10, brightness=0.3, contrast=0.3),
    "ultrasound": Augmentation(rotation=15, brightness=0.3, contrast=0.3),
    "fundus": Augmentation(vertical_flip=0.5, rotation=30, scale=(0.85, 1.5), contrast=0.3),
    "microscopy": Augmentation(vertical_flip=0.5, right_angles=True, contrast=0.3),
    "colonoscopy": Augmentation(vertical_flip=0.5, right_angles=True, rotation=30, contrast=0.3),
}
"""dict of modality to `Augmentation`, as used to train the small presets. A chest has an upper end
and an ultrasound probe is above the image; a lesion or a polyp may have any orientation."""
