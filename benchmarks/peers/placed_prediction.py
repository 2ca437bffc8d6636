"""Probabilities of images of any size, by a network that takes squares."""

import numpy as np

from keras_espmedsam.imaging.placement import Placement
from keras_espmedsam.training.data.augmentation import FILL

SIZE = 256


def predict_placed(probabilities, images, size=SIZE):
    """Place images on squares as in training, and map the probabilities back.

    Args:
        probabilities: function of images `(batch, size, size, 3)`, values 0 to 255, to
            probabilities `(batch, size, size)`.
        images: list of uint8 `(height, width, 3)`.
        size: int.

    Returns:
        list of float32 `(height, width)`, each of its image's own size.
    """
    places = [Placement.of(image.shape[:2], (size, size)) for image in images]
    squares = [
        place.forward(image, fill=FILL, white=255.0)
        for place, image in zip(places, images, strict=True)
    ]
    found = np.asarray(probabilities(np.stack(squares)), "float32")
    return [place.backward(one) for place, one in zip(places, found, strict=True)]
