"""Choose what is done to a segmenter's masks after the model, on labelled images."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_espmedsam.data.images import MAX_PIXELS
from keras_espmedsam.data.record import Record
from keras_espmedsam.data.samples import TargetPixels, target_images
from keras_espmedsam.evaluation.instance_metrics import instance_measures
from keras_espmedsam.evaluation.measured_targets import MeasuredTargets
from keras_espmedsam.evaluation.metrics import dice
from keras_espmedsam.imaging.intensity import AUTO, already_read
from keras_espmedsam.imaging.postprocessing import OPTIONS
from keras_espmedsam.inference.chosen_targets import target_set_of
from keras_espmedsam.inference.image_segmentation import SegmentsImages

# What is tried, the gentlest first: of equally good ones, the first is chosen. Areas beyond these
# are those of whole objects.
_TRIED: dict[str, tuple[Any, ...]] = {
    "fill_holes": (True,),
    "min_area": (4, 8, 16, 32, 64, 128, 256, 512),
    "max_objects": (2, 1),
}
_RESAMPLES = 2000


class Choice(NamedTuple):
    """The post-processing that was chosen for one target, and what it does on these images.

    Attributes:
        modality: the target's modality.
        target: its name in the model.
        measure: `"dice"`, or `"pq"` where objects are told apart.
        num_images: how many images it was chosen on.
        before: the measure without post-processing, as the mean of the data sets.
        after: the measure with the chosen options.
        options: the options that differ from their defaults; empty if nothing helps.

    Example:
        >>> choice = Choice("xray", "lungs", "dice", 50, 0.95, 0.96, {"max_objects": 2})
        >>> print(f"{choice.modality} {choice.target}: {choice.after - choice.before:+.2f}")
        xray lungs: +0.01
    """

    modality: str
    target: str
    measure: str
    num_images: int
    before: float
    after: float
    options: dict[str, Any]


class _Sample(NamedTuple):
    dataset: str
    image: np.ndarray
    truth: TargetPixels


def choose_postprocessing(
    segmenter: Any,
    records: Sequence[Record],
    min_gain: float = 0.001,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[Choice], None] | None = None,
) -> list[Choice]:
    """Choose smallest object, holes and number of objects for each target, by its Dice or PQ.

    From no post-processing on, the option that raises the measure most is added, as long as it
    raises it by `min_gain` and by more than chance: the 95 % bootstrap interval of the gain, paired
    by image, lies above 0. Give it images that the model was not trained on and that you do not
    test on, such as the val split.

    Args:
        segmenter: an `ESPMedSAMImageSegmenter` or an `ExportedSegmenter`. Its own post-processing
            is not used.
        records: labelled images, from `keras_espmedsam.data.read_index`.
        min_gain: the least gain for which an option is worth having.
        max_pixels: the most pixels that an image may have.
        progress: called with each choice as it is made.

    Returns:
        list of `Choice`, one for each target that the records label, in the model's order.
        `postprocessing_of` makes a model's `postprocessing` of it.

    Raises:
        InputError: for an image or a mask that cannot be read, and a target that the model does not
            have.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> from keras_espmedsam.inference.image_segmentation import SegmentsImages
        >>> class Bright(SegmentsImages):
        ...     modalities = ("fundus",)
        ...     image_converter = kem.models.ESPMedSAMImageConverter(image_size=(32, 32))
        ...     def predict_probabilities(self, images, indices):
        ...         return (images[..., 0] > 0).astype("float32")
        >>> truth = np.zeros((32, 32), "uint8")
        >>> truth[4:20, 4:20] = 255
        >>> image = truth.copy()
        >>> image[28, 5:7] = 255  # A false speck.
        >>> paths = [pathlib.Path(tempfile.mkdtemp()) / name for name in ("1.png", "1_mask.png")]
        >>> for path, pixels in zip(paths, (image, truth)):
        ...     Image.fromarray(pixels).save(path)
        >>> record = kem.data.Record("val", "fundus", "clinic", *paths)
        >>> (found,) = choose_postprocessing(Bright(), [record])
        >>> found.options, round(found.before, 3), found.after
        ({'min_area': 4}, 0.996, 1.0)
    """
    target_set = target_set_of(segmenter)
    targets = MeasuredTargets(target_set, records)
    said = getattr(segmenter, "intensity", None) or AUTO
    samples: dict[tuple[str, str], list[_Sample]] = {}
    for record in records:
        with_instances = record.modality in target_set.instances
        for image, labels in target_images(record, max_pixels, said, with_instances):
            for name, truth in labels.items():
                key = record.modality, targets.name(record.modality, name)
                samples.setdefault(key, []).append(_Sample(record.dataset, image.array, truth))
    model = _KeptOutputs(segmenter)
    choices = []
    for modality in target_set.modalities:
        for target in target_set.of(modality):
            if (modality, target) in samples:
                choice = _choose(model, modality, target, samples[modality, target], min_gain)
                # What is chosen for one target shows in those inside of it.
                model.postprocessing.setdefault(modality, {})[target] = choice.options
                choices.append(choice)
                if progress:
                    progress(choice)
    return choices


def postprocessing_of(choices: Sequence[Choice]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the `postprocessing` of a segmenter that choices amount to.

    Args:
        choices: from `choose_postprocessing`.

    Example:
        >>> choice = Choice("fundus", "disc", "dice", 8, 0.9, 0.92, {"max_objects": 1})
        >>> postprocessing_of([choice, choice._replace(target="cup", options={})])
        {'fundus': {'disc': {'max_objects': 1}}}
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for one in choices:
        if one.options:
            found.setdefault(one.modality, {})[one.target] = dict(one.options)
    return found


class _KeptOutputs(SegmentsImages):
    """A segmenter that computes an image once, and draws its masks under any rules."""

    def __init__(self, segmenter):
        self.modalities = tuple(segmenter.modalities)
        self.image_converter = segmenter.image_converter
        self.intensity = getattr(segmenter, "intensity", AUTO)
        self.target_set = target_set_of(segmenter)
        self.postprocessing: dict[str, dict[str, Any]] = {}
        self._predict = segmenter.predict_probabilities
        self._kept: dict[tuple[bytes, bytes], np.ndarray] = {}

    def predict_probabilities(self, images, indices):
        key = hashlib.sha256(images.tobytes()).digest(), indices.tobytes()
        if key not in self._kept:
            self._kept[key] = self._predict(images, indices)
        return self._kept[key]


def _choose(model, modality, target, samples, min_gain):
    measure = "dice"
    # Of some data sets, only the foreground may be known.
    if target in model.target_set.instances.get(modality, {}):
        numbered = [sample for sample in samples if sample.truth.instances is not None]
        if numbered:
            measure, samples = "pq", numbered
    datasets = np.array([sample.dataset for sample in samples])

    def values(options):
        rules = {**model.postprocessing.get(modality, {}), target: options}
        model.postprocessing = {**model.postprocessing, modality: rules}
        return np.array([_value(model, modality, target, measure, one) for one in samples])

    chosen: dict[str, Any] = {}
    before = best = values(chosen)
    while True:
        tried = [(values(options), options) for options in _next(chosen)]
        found, options = max(tried, key=lambda one: _mean(one[0], datasets))
        if not _is_gain(found - best, datasets, min_gain):
            break
        best, chosen = found, options
    means = _mean(before, datasets), _mean(best, datasets)
    return Choice(modality, target, measure, len(samples), *means, chosen)


def _next(chosen: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the options with one of them changed, in the order of `OPTIONS`."""
    for name, choices in _TRIED.items():
        for value in choices:
            if chosen.get(name, OPTIONS[name]) != value:
                changed = {**chosen, name: value}
                yield {key: changed[key] for key in OPTIONS if key in changed}


def _value(model, modality, target, measure, sample):
    # One by one, so that an image is computed once, whatever the targets that are labelled in it.
    found = model.segment(sample.image, modality, targets=target, **already_read(model))
    if measure == "pq":
        return instance_measures(sample.truth.instances, found["instances"][target])["pq"]
    mask = found["masks"]
    return dice(sample.truth.mask, mask[..., 0] if mask.ndim == 3 else mask)


def _mean(values, datasets):
    """Return the mean of the data sets, each of which counts once."""
    return float(np.mean([values[datasets == name].mean() for name in np.unique(datasets)]))


def _is_gain(differences, datasets, min_gain):
    """Whether differences are large enough, and more than chance."""
    if not differences.any() or _mean(differences, datasets) < min_gain:
        return False
    rng = np.random.default_rng(0)
    resampled = []
    for name in np.unique(datasets):
        own = differences[datasets == name]
        resampled.append(rng.choice(own, (_RESAMPLES, own.size)).mean(axis=1))
    return bool(np.quantile(np.mean(resampled, axis=0), 0.025) > 0)
