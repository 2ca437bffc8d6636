"""Real images for int8: some choose its ranges, others measure its loss of accuracy."""

import numpy as np

from keras_espmedsam.data.samples import target_images
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.evaluate import evaluate
from keras_espmedsam.export.comparison import model_inputs
from keras_espmedsam.export.exported_segmenter import ExportedSegmenter
from keras_espmedsam.export.request import normalization, to_pixels
from keras_espmedsam.imaging.pixels import to_rgb
from keras_espmedsam.inference.chosen_targets import target_set_of
from keras_espmedsam.inference.image_segmentation import SegmentsImages

# Largest loss of int8: in mean Dice, or a classifier's share of images that change class.
MAX_LOSS = 0.01
CALIBRATING = 10
MEASURING = 20


def chosen_records(task, records, seed=0):
    """Return disjoint records to calibrate and to measure with, equally from all modalities.

    Args:
        task: the segmenter or classifier.
        records: list of `Record`.
        seed: int.

    Returns:
        Two lists of `Record`: up to 10 and up to 20 of each modality.

    Raises:
        InputError: if a modality of the model has fewer than two.
    """
    rng = np.random.default_rng(seed)
    names = task.modalities if task.is_segmenter else (task.class_names or ())
    # By the place of a record: those of one image in two lists may be equal.
    calibrating, measuring = [], []
    for name in names or sorted({record.modality for record in records}):
        of_target = _records_by_target(task, name, records)
        # The rarest first: its few records have to be among both.
        for target, own in sorted(of_target.items(), key=lambda item: len(item[1])):
            if len(own) < 2:
                several = target is not None
                raise InputError(
                    f"int8 needs images with masks of every modality{' and target' * several}, at "
                    f"least two, better thirty; received {len(own)} of "
                    f"{f'{target} ({name})' if several else name}. Give an index of all of them, "
                    "or export one modality."
                )
            own = [own[i] for i in rng.permutation(len(own))]
            half = min(CALIBRATING, len(own) // 2)
            # Records that label several targets count for each of them.
            here = [i for i in own if i in calibrating]
            free = [i for i in own if i not in calibrating and i not in measuring]
            more = max(half - len(here), 0)
            calibrating += free[:more]
            here = [i for i in own if i in measuring]
            measuring += free[more : more + max(MEASURING - len(here), 0)]
    return [records[i] for i in calibrating], [records[i] for i in measuring]


def _records_by_target(task, modality, records):
    """Return the places of a modality's labelled records by target; `None` is its only one."""
    masked = [i for i, one in enumerate(records) if one.modality == modality and one.mask]
    targets = target_set_of(task) if task.is_segmenter else None
    names = targets.of(modality) if targets else ()
    if len(names) < 2:
        return {None: masked}
    found = {name: [] for name in names}
    for i in masked:
        for one in records[i].target_masks:
            found[names[targets.index(modality, one.target)]].append(i)
    return found


def calibration_inputs(task, request, records):
    """Return inputs of the artefact, one sample each.

    Args:
        task: the segmenter or classifier.
        request: `ExportRequest`.
        records: list of `Record`.

    Returns:
        List of dicts of arrays.
    """
    converter = task.preprocessor.image_converter.at_size(request.size)
    mean, divisor = normalization(task)
    found = []
    for record in records:
        images = target_images(record, intensity=converter.intensity, instances=False)
        image, _ = next(images)
        images = converter.convert(to_rgb(image.array))[None]
        if request.flavor == "images":
            images = to_pixels(images, mean, divisor)
        inputs = {"images": images}
        if task.takes_modalities:
            inputs["modalities"] = task.modality_indices(record.modality, 1)
        repeats = request.batch_size or 1
        found.append({name: np.repeat(v, repeats, axis=0) for name, v in inputs.items()})
    return found


def quality(task, request, description, runtime, records):
    """Measure an artefact on labelled images, next to the Keras model.

    Args:
        task: the segmenter or classifier.
        request: `ExportRequest`.
        description: dict of the artefact.
        runtime: callable from a dict of inputs to a dict of outputs.
        records: list of `Record`.

    Returns:
        dict: `measure`, `keras`, `exported`, `images`.

    Raises:
        InputError: if the artefact loses more than `MAX_LOSS`.
    """
    if task.is_segmenter:
        measure = "mean Dice of the data sets"
        model = _AtSize(task, task.preprocessor.image_converter.at_size(request.size))
        keras_value = _mean_dice(model, records)
        value = _mean_dice(ExportedSegmenter.of(description, runtime), records)
    else:
        measure = "share classed as by the Keras model"
        inputs = calibration_inputs(task, request, records)
        keras_value = 1.0
        value = float(np.mean([_same_class(task, request, runtime, one) for one in inputs]))
    found = {
        "measure": measure,
        "keras": round(keras_value, 4),
        "exported": round(value, 4),
        "images": len(records),
    }
    if not value >= keras_value - MAX_LOSS:
        raise InputError(
            f"The {request.format.name} artefact in {request.precision} has a {measure} of "
            f"{value:.4f} on {len(records)} images, the Keras model {keras_value:.4f}; the "
            f"largest loss allowed is {MAX_LOSS}. Nothing was kept: export in float16."
        )
    return found


class _AtSize(SegmentsImages):
    """The Keras model, with images resized to the artefact's size."""

    def __init__(self, task, converter):
        self.image_converter = converter
        self.intensity = converter.intensity
        self.modalities = task.modalities
        self.target_set = target_set_of(task)
        self.postprocessing = getattr(task, "postprocessing", {})
        self.probability_calibration = getattr(task, "probability_calibration", {})
        self.predict_probabilities = task.predict_probabilities


def _mean_dice(model, records):
    report = evaluate(model, records, batch_size=4)
    return float(np.mean([one["dice"]["mean"] for one in report["datasets"].values()]))


def _same_class(task, request, runtime, inputs):
    normal = inputs["images"]
    if request.flavor == "images":
        normal = model_inputs(task, request, normal)[1]["images"]
    (found,) = runtime(inputs).values()
    return np.argmax(found[0]) == np.argmax(np.asarray(task.predict_prepared(normal))[0])
