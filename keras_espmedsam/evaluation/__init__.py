"""Segmentation metrics, and the evaluation of a segmenter on a data set."""

from keras_espmedsam.evaluation.calibrate import CalibratedTarget, calibrate_targets
from keras_espmedsam.evaluation.choose_postprocessing import (
    Choice,
    choose_postprocessing,
    postprocessing_of,
)
from keras_espmedsam.evaluation.cldice import cldice
from keras_espmedsam.evaluation.evaluate import evaluate
from keras_espmedsam.evaluation.fit_quality import fit_quality
from keras_espmedsam.evaluation.fit_scope import fit_scope
from keras_espmedsam.evaluation.fit_scope_threshold import ScopeThreshold, fit_scope_threshold
from keras_espmedsam.evaluation.instance_metrics import (
    INSTANCE_METRICS,
    ObjectMatches,
    instance_measures,
    match_objects,
    object_scores,
    pooled_measures,
    summarise_instances,
)
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
from keras_espmedsam.evaluation.remembered_outputs import RememberedOutputs
from keras_espmedsam.evaluation.subgroups import summarise_subgroups
from keras_espmedsam.evaluation.surface_dice import DEFAULT_TOLERANCE, nsd
from keras_espmedsam.evaluation.worst_images import worst_images

__all__ = [
    "CalibratedTarget",
    "Choice",
    "DEFAULT_METRICS",
    "DEFAULT_TOLERANCE",
    "INSTANCE_METRICS",
    "MetricError",
    "ObjectMatches",
    "RememberedOutputs",
    "ScopeThreshold",
    "calibrate_targets",
    "choose_postprocessing",
    "cldice",
    "dice",
    "evaluate",
    "fit_quality",
    "fit_scope",
    "fit_scope_threshold",
    "hausdorff_distance",
    "hd95",
    "image_measures",
    "instance_measures",
    "iou",
    "match_objects",
    "nsd",
    "object_scores",
    "paper_image_measures",
    "pooled_measures",
    "postprocessing_of",
    "precision",
    "recall",
    "summarise_instances",
    "summarise_paper",
    "summarise_subgroups",
    "worst_images",
]
