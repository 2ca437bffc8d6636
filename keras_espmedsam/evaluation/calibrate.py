"""Calibrate a segmenter on labelled images: its probabilities, and thresholds with a guarantee."""

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.images import MAX_PIXELS
from keras_espmedsam.data.index import read_index
from keras_espmedsam.data.record import Record
from keras_espmedsam.errors import InputError, InputWarning
from keras_espmedsam.evaluation.fit_calibration import fit_calibration, helps
from keras_espmedsam.evaluation.pixel_counts import THRESHOLDS
from keras_espmedsam.evaluation.probability_quality import ProbabilityQuality, probability_quality
from keras_espmedsam.evaluation.risk_control import choose_threshold, images_needed, losses
from keras_espmedsam.evaluation.target_counts import TargetCounts, target_counts
from keras_espmedsam.inference.chosen_targets import target_set_of
from keras_espmedsam.inference.guarantees import GUARANTEES


class CalibratedTarget(NamedTuple):
    """What calibration found for one target.

    Attributes:
        modality: the target's modality.
        target: its name in the model.
        num_images: how many images label it.
        datasets: the data sets of these images.
        options: temperature and bias of its probabilities; empty if they do not help, or were not
            asked for.
        before: `ProbabilityQuality` without the options, on these images.
        after: the same with the options.
        guarantees: dict of what is guaranteed to its level, threshold, `num_images` and
            `datasets`, as the segmenter's `guarantees` hold them.
        means: dict of what is guaranteed to the means at its threshold on these images: recall,
            false discovery rate and Dice. Recall is NaN if none of them shows the target.
        refusals: why other guarantees could not be given, a sentence each.

    Example:
        >>> quality = probability_quality(np.ones((1, 2, 442), int))
        >>> found = CalibratedTarget(
        ...     "xray", "lungs", 20, ("jsrt",), {"temperature": 1.6}, quality, quality, {}, {}, ())
        >>> round(found.before.brier, 2), found.options["temperature"]
        (0.45, 1.6)
    """

    modality: str
    target: str
    num_images: int
    datasets: tuple[str, ...]
    options: dict[str, float]
    before: ProbabilityQuality
    after: ProbabilityQuality
    guarantees: dict[str, dict[str, Any]]
    means: dict[str, dict[str, float]]
    refusals: tuple[str, ...]


def calibrate_targets(
    segmenter: Any,
    data: Sequence[Record] | str | os.PathLike,
    recall: float | None = None,
    false_discovery_rate: float | None = None,
    dice: float | None = None,
    confidence: float = 0.9,
    probabilities: bool = True,
    bias: bool = False,
    batch_size: int = 8,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[int], None] | None = None,
) -> list[CalibratedTarget]:
    """Find the temperature of each target's probabilities, and thresholds with a guarantee.

    The segmenter is not changed; its method `calibrate` does that. Its own calibration and
    post-processing are not used.

    Args:
        segmenter: an `ESPMedSAMImageSegmenter` or an `ExportedSegmenter`.
        data: path of an index, whose val split is used, or labelled images from
            `keras_espmedsam.data.read_index`, that the model was not trained on.
        recall: the share of a target's true pixels that is inside of the mask, at least, as the
            mean over new images that show the target. Images without it are left out.
        false_discovery_rate: the share of the mask that is background, at most, as the mean over
            new images; 0 for an empty mask.
        dice: the mean Dice of new images, at least; 1 if mask and truth are empty.
        confidence: the probability that the last two hold, over the images that are given here.
        probabilities: whether to fit temperatures. A temperature is kept if it makes images that it
            was not fitted to more likely. Targets that exclude each other have none, since their
            probabilities would no longer add up.
        bias: whether to fit a bias with the temperature. Probabilities of thin structures and small
            objects are then much better, but a mask at threshold 0.5 becomes smaller, and may
            vanish; the threshold `1 / (1 + exp(-bias))` gives the same mask as before.
        batch_size: images per forward pass.
        max_pixels: the most pixels that an image may have.
        progress: called with the number of images finished since the last call.

    Returns:
        list of `CalibratedTarget`, one for each target that the data labels, in the model's order.

    Raises:
        InputError: for no images, an image or a mask that cannot be read, a target that the model
            does not have, a level out of range, and if none of the guarantees could be given.

    Warns:
        InputWarning: for each guarantee that could not be given, with the reason.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> from keras_espmedsam.inference.image_segmentation import SegmentsImages
        >>> class Bright(SegmentsImages):
        ...     modalities = ("fundus",)
        ...     image_converter = kem.models.ESPMedSAMImageConverter(image_size=(32, 32))
        ...     def predict_probabilities(self, images, indices):
        ...         return (0.5 + images[..., 0] / 10).clip(0, 1).astype("float32")
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "half.png"
        >>> Image.fromarray(np.uint8([[0] * 16 + [255] * 16] * 32)).save(path)
        >>> records = [kem.data.Record("val", "fundus", "clinic", path, path)] * 9
        >>> (found,) = calibrate_targets(Bright(), records, recall=0.9)
        >>> found.guarantees["recall"]["num_images"], found.means["recall"]["recall"]
        (9, 1.0)
    """
    levels = _levels(recall, false_discovery_rate, dice)
    if not 0 < _number("confidence", confidence) < 1:
        raise InputError(f"Received confidence={confidence}; expected a number between 0 and 1.")
    if not levels and not probabilities:
        raise InputError(
            "Received nothing to calibrate; leave probabilities on, or give recall, "
            "false_discovery_rate or dice."
        )
    if isinstance(data, str | os.PathLike):
        data = read_index(data, ("val",))
    records = list(data)
    if not records:
        raise InputError("Received no images to calibrate on; choose a split that has some.")
    found: dict[tuple[str, str], list[TargetCounts]] = {}
    for one in target_counts(segmenter, records, batch_size, max_pixels, progress):
        found.setdefault((one.record.modality, one.target), []).append(one)
    results = []
    target_set = target_set_of(segmenter)
    for modality in target_set.modalities:
        exclusive = {one for group in target_set.exclusive.get(modality, ()) for one in group}
        for target in target_set.of(modality):
            own = found.get((modality, target), [])
            if own:
                datasets = tuple(dict.fromkeys(one.record.dataset for one in own))
                fitted = probabilities and target not in exclusive
                results.append(
                    _calibrated(
                        (modality, target, len(own), datasets),
                        np.stack([one.counts for one in own]),
                        fitted,
                        bias,
                        levels,
                        confidence,
                    )
                )
    refusals = [sentence for one in results for sentence in one.refusals]
    if levels and not any(one.guarantees for one in results):
        raise InputError(" ".join(refusals))
    for sentence in refusals:
        warnings.warn(sentence, InputWarning, stacklevel=2)
    return results


def _calibrated(of, counts, fitted, bias, levels, confidence):
    options = {}
    if fitted and helps(counts, bias):
        options = fit_calibration(counts, bias)
    guarantees, means, refusals = {}, {}, []
    for risk, level in levels.items():
        found = _guarantee(risk, level, confidence, counts, of)
        if isinstance(found, str):
            refusals.append(found)
        else:
            guarantees[risk], means[risk] = found
    modality, target, num_images, datasets = of
    return CalibratedTarget(
        modality=modality,
        target=target,
        num_images=num_images,
        datasets=datasets,
        options=options,
        before=probability_quality(counts),
        after=probability_quality(counts, **options),
        guarantees=guarantees,
        means=means,
        refusals=tuple(refusals),
    )


def _guarantee(risk, level, confidence, counts, of):
    """Return a guarantee and the means at its threshold, or why there is none."""
    modality, target, _, datasets = of
    each = losses(risk, counts)
    rate = level if risk == "false_discovery_rate" else 1 - level
    needed = images_needed(risk, rate, confidence)
    told = f"{risk}={level:g} of {target} ({modality})"
    if len(each) < needed:
        verb = "show" if risk == "recall" else "label"
        images = f"1 image that {verb}s" if len(each) == 1 else f"{len(each)} images that {verb}"
        return f"Received {images} {target} ({modality}); {risk}={level:g} needs at least {needed}."
    number = choose_threshold(risk, each, rate, confidence)
    if number is None:
        best = each.mean(axis=0).min()
        best = best if risk == "false_discovery_rate" else 1 - best
        return (
            f"No threshold could be shown to hold {told}: on these {len(each)} images the best one "
            f"has {best:.3f}. Ask for less, or give more images."
        )
    found = {
        "level": level,
        "threshold": float(THRESHOLDS[number]),
        "num_images": len(each),
        "datasets": list(datasets),
    }
    if risk != "recall":
        found["confidence"] = confidence
    means = {name: _mean(losses(name, counts)[:, number]) for name in GUARANTEES}
    means |= {name: 1 - means[name] for name in ("recall", "dice")}
    return found, means


def _mean(values):
    return float(values.mean()) if values.size else float("nan")


def _levels(recall, false_discovery_rate, dice):
    given = zip(GUARANTEES, (recall, false_discovery_rate, dice), strict=True)
    levels = {name: _number(name, value) for name, value in given if value is not None}
    for name, value in levels.items():
        if not 0 < value < 1:
            raise InputError(
                f"Received {name}={value:g}; expected a number between 0 and 1, such as "
                f"{0.1 if name == 'false_discovery_rate' else 0.9}."
            )
    return levels


def _number(name, value):
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(
            f"Received {name}={shown_value(value)}; expected a number between 0 and 1."
        ) from None
