"""A segmenter of NumPy alone, and images for archives."""

import numpy as np
import pytest

from keras_espmedsam.archive import FileSegmenter
from keras_espmedsam.data import Targets
from keras_espmedsam.inference import DicomOptions


class Bright:
    """Finds bright pixels; counts what it is asked."""

    modalities = ("fundus", "ultrasound")
    target_set = Targets({"fundus": ("vessels",), "ultrasound": ("lesion",)})

    def __init__(self):
        self.asked = 0

    def segment(self, images, modalities, **options):
        self.asked += len(images)
        masks = [np.asarray(image).reshape(*image.shape[:2], -1)[..., 0] > 100 for image in images]
        return {"masks": masks, "targets": [self.target_set.of(one) for one in modalities]}


@pytest.fixture
def bright():
    return Bright()


@pytest.fixture
def segmenter(bright):
    from tests.dicom.images import MODEL

    return FileSegmenter(bright, None, "ultrasound", DicomOptions(MODEL, report=True))
