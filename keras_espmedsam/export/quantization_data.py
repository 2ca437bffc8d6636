"""Real images for int8: some to choose its ranges by, others to measure what it costs."""

import numpy as np

from keras_espmedsam.data.samples import labelled_images
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.evaluate import evaluate
from keras_espmedsam.export.comparison import model_inputs
from keras_espmedsam.export.exported_segmenter import ExportedSegmenter
from keras_espmedsam.export.request import normalization, to_pixels
from keras_espmedsam.imaging.pixels import to_rgb
from keras_espmedsam.inference.image_segmentation import SegmentsImages

# What int8 may cost: mean Dice, or a classifier's share of images that it classes as before.
MAX_LOSS = 0.01
CALIBRATING = 10
MEASURING = 20


def chosen_records(task, records, seed=0):
    """Records to calibrate with and, apart from these, to measure with, alike of all modalities.

    Args:
        task: the segmenter or classifier.
        records: list of `Record`.
        seed: int.

    Returns:
        Two lists of `Record`: up to 10 and up to 20 of each modality.

    Raises:
        InputError: where a modality of the model has fewer than two.

    Source: ours.
    """
    rng = np.random.default_rng(seed)
    names = task.modalities if task.is_segmenter else (task.class_names or ())
    calibrating, measuring = [], []
    for name in names or sorted({record.modality for record in records}):
        own = [record for record in records if record.modality == name and record.mask]
        if len(own) < 2:
            raise InputError(
                f"int8 needs images with masks of every modality, at least two, better thirty; "
                f"received {len(own)} of {name}. Give an index of all of them, or export one "
                "modality."
            )
        order = rng.permutation(len(own))
        own = [own[i] for i in order]
        half = min(CALIBRATING, len(own) // 2)
        calibrating += own[:half]
        measuring += own[half : half + MEASURING]
    return calibrating, measuring


def calibration_inputs(task, request, records):
    """The inputs of single samples, as the artefact takes them.

    Args:
        task: the segmenter or classifier.
        request: `ExportRequest`.
        records: list of `Record`.

    Returns:
        List of dicts of arrays.

    Source: ours.
    """
    converter = _converter(task, request)
    mean, divisor = normalization(task)
    found = []
    for record in records:
        image, _ = next(iter(labelled_images(record, intensity=converter.intensity)))
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
    """What an artefact is worth on labelled images, beside the Keras model.

    Args:
        task: the segmenter or classifier.
        request: `ExportRequest`.
        description: dict of the artefact.
        runtime: callable from a dict of inputs to a dict of outputs.
        records: list of `Record`.

    Returns:
        dict: `measure`, `keras`, `exported`, `images`.

    Raises:
        InputError: when the artefact loses more than `MAX_LOSS`.

    Source: ours.
    """
    if task.is_segmenter:
        measure = "mean Dice of the data sets"
        model = _AtSize(task, _converter(task, request))
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
            f"{value:.4f} on {len(records)} images, the Keras model {keras_value:.4f}; more than "
            f"{MAX_LOSS} may not be lost. Nothing was kept: export in float16."
        )
    return found


class _AtSize(SegmentsImages):
    """The Keras model, with images brought to the artefact's size."""

    def __init__(self, task, converter):
        self.image_converter = converter
        self.intensity = converter.intensity
        self.modalities = task.modalities
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


def _converter(task, request):
    converter = task.preprocessor.image_converter
    return type(converter).from_config({**converter.get_config(), "image_size": request.size})
