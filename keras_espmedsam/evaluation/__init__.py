"""Measures of segmentations, and the evaluation of a segmenter on a data set."""

from keras_espmedsam.evaluation.evaluate import evaluate
from keras_espmedsam.evaluation.metrics import (
    DEFAULT_METRICS,
    MetricError,
    dice,
    hausdorff_distance,
    hd95,
    image_measures,
    iou,
    precision,
    recall,
)
from keras_espmedsam.evaluation.paper_metrics import paper_image_measures, summarise_paper

__all__ = [
    "DEFAULT_METRICS",
    "MetricError",
    "dice",
    "evaluate",
    "hausdorff_distance",
    "hd95",
    "image_measures",
    "iou",
    "paper_image_measures",
    "precision",
    "recall",
    "summarise_paper",
]
