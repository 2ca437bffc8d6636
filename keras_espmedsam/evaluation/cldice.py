"""clDice: how much of the centre lines of thin structures is found."""

import numpy as np

from keras_espmedsam._startup import require
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.masks import both_masks


def cldice(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Centre line Dice, for vessels and other thin structures.

    The harmonic mean of the part of the predicted skeleton that lies in the true mask, and the part
    of the true skeleton that lies in the predicted mask. A vessel that is drawn too thick costs
    little, one that is interrupted or missing much.

    Args:
        truth: true mask `(height, width)`, nonzero is foreground.
        prediction: predicted mask of the same shape.

    Returns:
        From 0 to 1; 1 if both masks are empty, 0 if only one is.

    Raises:
        InputError: when the masks are not two-dimensional or their shapes differ, or scikit-image,
            which finds the skeletons, is not installed.

    Example:
        >>> truth, prediction = np.zeros((9, 20)), np.zeros((9, 20))
        >>> truth[4] = prediction[3:6, :10] = 1
        >>> cldice(truth, truth), round(cldice(truth, prediction), 3)
        (1.0, 0.64)

    Source: Shit et al. 2021, arXiv 2003.07311.
    """
    truth, prediction = both_masks(truth, prediction)
    if truth.ndim != 2:
        raise InputError(f"Received masks of shape {truth.shape}; expected (height, width).")
    skeletonize = require("skimage.morphology", "The metric cldice", "metrics").skeletonize
    if not truth.any() or not prediction.any():
        return float(truth.any() == prediction.any())
    found = _part(skeletonize(prediction), truth)
    present = _part(skeletonize(truth), prediction)
    return 2 * found * present / (found + present) if found + present else 0.0


def _part(skeleton, mask):
    # A skeleton of a mask that is not empty has at least one pixel.
    return int(np.count_nonzero(skeleton & mask)) / int(np.count_nonzero(skeleton))
