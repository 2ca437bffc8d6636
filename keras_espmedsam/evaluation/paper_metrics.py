"""The metrics as in the published code, for comparison with the paper's tables."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.metrics import confusion, hausdorff_distance
from keras_espmedsam.evaluation.summary import mean_and_std
from keras_espmedsam.imaging.placement import resize

PAPER_SIZE = (1024, 1024)
"""Height and width at which the paper's metrics are computed."""

_SMOOTHING = 1


def paper_image_measures(
    truth: np.ndarray, probabilities: np.ndarray, threshold: float = 0.5
) -> dict[str, float]:
    """Compute the published metrics of one image, at 1024 x 1024 pixels.

    Dice and IoU are smoothed by 1 in numerator and denominator. Precision and recall are 0 if
    their denominator is 0 (the published code does not define this case).

    Args:
        truth: true mask `(height, width)`, nonzero is foreground.
        probabilities: predicted probabilities `(height, width)`.
        threshold: pixels with at least this probability are foreground.

    Returns:
        `{"dice", "iou", "accuracy", "precision", "recall", "hausdorff"}`; the Hausdorff distance
        (the maximum, in pixels) is NaN if a mask is empty.

    Raises:
        InputError: when the shapes differ.

    Example:
        >>> measures = paper_image_measures(np.ones((4, 4)), np.ones((4, 4)))
        >>> measures["dice"], measures["hausdorff"]
        (1.0, 0.0)

    Source: ESP-MedSAM (arXiv 2407.14153), published evaluation code.
    """
    drawn = Image.fromarray(np.where(truth, 255, 0).astype(np.uint8))
    truth = np.asarray(drawn.resize(PAPER_SIZE[::-1], Image.Resampling.NEAREST)) > 0
    prediction = resize(np.asarray(probabilities, np.float32), *PAPER_SIZE) >= threshold
    tp, fp, fn, tn = confusion(truth, prediction)
    comparable = truth.any() and prediction.any()
    return {
        "dice": (2 * tp + _SMOOTHING) / (2 * tp + fp + fn + _SMOOTHING),
        "iou": (tp + _SMOOTHING) / (tp + fp + fn + _SMOOTHING),
        "accuracy": (tp + tn) / (tp + fp + fn + tn),
        "precision": tp / (tp + fp) if tp + fp else 0.0,
        "recall": tp / (tp + fn) if tp + fn else 0.0,
        "hausdorff": hausdorff_distance(truth, prediction) if comparable else float("nan"),
    }


def summarise_paper(measures: Sequence[dict[str, float]]) -> dict[str, dict]:
    """Compute means and standard deviations over images as published.

    F1 is computed from the mean precision and the mean recall. The Hausdorff distance leaves out
    images with an empty mask; their number is `dropped`.

    Args:
        measures: one result of `paper_image_measures` per image.

    Returns:
        `{NAME: {"mean", "std"}}`; `f1` has no deviation, and an undefined value is None.

    Raises:
        InputError: when there are no images.

    Example:
        >>> one = paper_image_measures(np.ones((4, 4)), np.ones((4, 4)))
        >>> summarise_paper([one])["f1"]
        {'mean': 1.0, 'std': None}

    Source: ESP-MedSAM (arXiv 2407.14153), published evaluation code.
    """
    if not measures:
        raise InputError("Received no metrics; give those of at least one image.")
    columns = {name: np.array([one[name] for one in measures]) for name in measures[0]}
    distances = columns.pop("hausdorff")
    summary = {name: mean_and_std(values) for name, values in columns.items()}
    precision, recall = summary["precision"]["mean"], summary["recall"]["mean"]
    assert precision is not None and recall is not None  # There is at least one image.
    total = precision + recall
    summary["f1"] = {"mean": 2 * precision * recall / total if total else 0.0, "std": None}
    kept = distances[~np.isnan(distances)]
    summary["hausdorff"] = {**mean_and_std(kept), "dropped": len(distances) - len(kept)}
    return summary
