"""Measure the masks and objects that a segmenter has drawn in an image."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_espmedsam.data.pixel_spacing import pixel_spacing
from keras_espmedsam.data.record import Record
from keras_espmedsam.data.targets import UNNAMED
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.instance_metrics import match_objects, object_scores
from keras_espmedsam.evaluation.measured_targets import MeasuredTargets
from keras_espmedsam.evaluation.metrics import image_measures, wanted_options
from keras_espmedsam.evaluation.paper_metrics import paper_image_measures
from keras_espmedsam.evaluation.read_labelled import LabelledImage
from keras_espmedsam.evaluation.target_measures import TargetMeasures
from keras_espmedsam.registries import metrics as registry

NO_SPACING = (
    "the file does not say how large its pixels are, so its surface Dice (nsd) in mm is undefined"
)
"""The notice about an image without a spacing, as the end of a sentence."""


class Comparison(NamedTuple):
    """A target in an image: its metrics, and what they were computed from.

    Args:
        measures: the metrics.
        record: the image's record, with this target alone.
        truth: the true mask, bool `(height, width)`, as stored.
        probabilities: float32 of the same shape; None if the segmenter gives none, or nobody wants
            them.
    """

    measures: TargetMeasures
    record: Record
    truth: np.ndarray
    probabilities: np.ndarray | None


class ImageMeasurer:
    """Compares what a segmenter has drawn in an image with each target that is labelled there.

    Args:
        targets: the targets.
        metrics: names of metrics; see `checked_metrics`.
        paper_metrics: whether to compute the published metrics instead.
        thresholds: the threshold of each of the model's targets.
        tolerances: the tolerance of each target by its name in the report; see
            `tolerances_by_target`.
        notice: called with a record and a notice about its image.
        keep: whether the probabilities are kept with the metrics.
    """

    def __init__(
        self,
        targets: MeasuredTargets,
        metrics: Sequence[str],
        paper_metrics: bool,
        thresholds: Mapping[str, float],
        tolerances: Mapping[str, str],
        notice: Callable[[Record, str], None],
        keep: bool,
    ):
        self._targets = targets
        self._metrics = metrics
        self._paper_metrics = paper_metrics
        self._thresholds = thresholds
        self._tolerances = tolerances
        self._notice = notice
        self._keep = keep
        self._needs_spacing = not paper_metrics and takes_option(metrics, "spacing")

    def __call__(
        self, sample: LabelledImage, results: Mapping[str, Any], number: int
    ) -> list[Comparison]:
        """Measure one image of a batch.

        Args:
            sample: the image and its true masks.
            results: what `segment` returns for the batch.
            number: the image's number in the batch.

        Raises:
            InputError: for probabilities that are no numbers, or missing ones that are needed.
        """
        drawn = {
            name: results[name][number]
            for name in ("masks", "probabilities", "instances")
            if name in results
        }
        probabilities = drawn.get("probabilities")
        if probabilities is not None and not np.isfinite(np.asarray(probabilities)).all():
            raise InputError(
                "the segmenter returned NaN or infinite probabilities; its weights may be damaged."
            )
        if self._paper_metrics and probabilities is None:
            raise InputError(
                "the segmenter returned no probabilities, which the paper's metrics need."
            )
        spacing = pixel_spacing(sample.image) if self._needs_spacing else None
        return [self._target(sample, name, drawn, spacing) for name in sample.labels]

    def _target(self, sample, labelled, drawn, spacing):
        record, image = sample.record, sample.image
        modality = record.modality
        channel = self._targets.channel(modality, labelled)
        name = self._targets.name(modality, labelled)
        label = self._targets.label(modality, labelled)
        pixels = sample.labels[labelled]
        # Images and masks were turned upright; they are compared in the stored orientation.
        truth = image.layout.undo(pixels.mask)
        probabilities = drawn.get("probabilities")
        if probabilities is not None:
            probabilities = image.layout.undo(_plane(probabilities, channel))
        if self._paper_metrics:
            values = paper_image_measures(truth, probabilities, self._thresholds[name])
        else:
            tolerance = self._tolerances.get(label or UNNAMED, "")
            options = {"spacing": spacing, **({"tolerance": tolerance} if tolerance else {})}
            if spacing is None and "nsd" in self._metrics and tolerance.endswith("mm"):
                self._notice(record, NO_SPACING)
            prediction = image.layout.undo(_plane(drawn["masks"], channel))
            values = image_measures(truth, prediction, self._metrics, **options)
        objects = None
        found = (drawn.get("instances") or {}).get(name)
        if found is not None and pixels.instances is not None:
            found = image.layout.undo(np.asarray(found))
            scores = None if probabilities is None else object_scores(found, probabilities)
            objects = match_objects(image.layout.undo(pixels.instances), found, scores)
        measures = TargetMeasures(label, values, objects)
        kept = probabilities if self._keep else None
        return Comparison(measures, sample.record_of(labelled), truth, kept)


def takes_option(metrics: Sequence[str], option: str) -> bool:
    """Whether one of the metrics takes an option, such as `"spacing"`.

    Args:
        metrics: names of metrics.
        option: the name of a keyword-only parameter.

    Example:
        >>> takes_option(["dice", "nsd"], "spacing"), takes_option(["dice"], "spacing")
        (True, False)
    """
    return any(wanted_options(registry.load(name), {option: None}) for name in metrics)


def _plane(array, channel):
    array = np.asarray(array)
    if array.ndim == 2:
        return array
    if channel >= array.shape[-1]:
        raise InputError(
            f"the segmenter returned {array.shape[-1]} masks of the image; expected one for each "
            "target of its modality."
        )
    return array[..., channel]
