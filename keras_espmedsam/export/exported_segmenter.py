"""An exported segmenter, used as the Keras model it was made from."""

import importlib
from pathlib import Path

import numpy as np

from keras_espmedsam._renamed import old_member
from keras_espmedsam._shown import shown, shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.export.artefact_files import check_files, read_description
from keras_espmedsam.export.bounded_runtime import BoundedRuntime
from keras_espmedsam.export.request import OLD_FLAVORS, to_pixels
from keras_espmedsam.imaging.finite import all_finite
from keras_espmedsam.inference.image_batches import filled_up
from keras_espmedsam.inference.image_segmentation import SegmentsImages, sigmoid
from keras_espmedsam.inference.precision import check_precision
from keras_espmedsam.models import ESPMedSAMImageConverter
from keras_espmedsam.models.image_converter import NORMALIZATIONS


class ExportedSegmenter(SegmentsImages):
    """Segment images with an artefact of `export_for`, in the format's own runtime.

    For measuring an artefact as a preset is measured, with `keras_espmedsam.evaluation.evaluate`;
    programs that only use one need nothing of this package, see `examples/exported`.

    Args:
        path: the artefact; its JSON file lies beside it.
        precision: str. What is computed in: `"float32"`, or `"bfloat16"` of OpenVINO, on a
            processor with units for it.
        trust: bool. Whether who made it is trusted as if the file were a program: its operators
            are not looked at, and it takes any time and memory. Else it may load for 60 seconds,
            and compute so long at a time (of more than a million pixels, in proportion), or as
            long as the environment variable `ESPMEDSAM_ARTEFACT_SECONDS` says.

    Raises:
        InputError: where the file is none, or none of a segmenter; for one that is damaged, other
            than its description says, or does more than mathematics; and for a precision that
            its runtime or the processor does not have. So does `segment`, where it gives what is
            no probability, or not in time.

    Example:
        >>> import tempfile
        >>> segmenter = ESPMedSAMImageSegmenter.from_preset("espmedsam_nano_256")
        >>> path = tempfile.mkdtemp() + "/fundus"
        >>> _ = segmenter.export_for("saved_model", path, modality="fundus")
        >>> image = np.zeros((300, 400, 3), "uint8")
        >>> ExportedSegmenter(path).segment(image)["masks"].shape
        (300, 400)

    Source: ours.
    """

    precision = "float32"

    def __init__(self, path, precision="float32", trust=False):
        path = Path(path)
        description, chosen = read_description(path)
        check_precision(precision, chosen)
        check_files(path, chosen, description)
        _import_runtime(chosen)
        self.precision = precision
        # Formats of other packages need not know of it.
        options = {} if precision == "float32" else {"precision": precision}

        def load():
            if not trust:
                chosen.check(path)
            return chosen.load(path, **options)

        self._use(description, BoundedRuntime(load, path, unbounded=trust), path)

    @classmethod
    def of(cls, description, runtime):
        """One that is loaded already, from its description and its runtime."""
        made = cls.__new__(cls)
        made._use(description, runtime)
        return made

    def _use(self, description, runtime, path=None):
        self.description = description
        self._named = "The artefact" if path is None else f"The artefact {shown(path)}"
        flavor = description["flavor"]
        self._takes_pixels = OLD_FLAVORS.get(flavor, flavor) == "images"
        self.modalities = tuple(description["modalities"])
        self.runtime = runtime
        self.batch_size, height, width, _ = description["inputs"]["images"]["shape"]
        try:
            self.image_converter = ESPMedSAMImageConverter(
                image_size=None if height is None else (height, width),
                resize_mode=description["resize_mode"],
                normalization=_normalization(description["normalization"]),
                intensity=description.get("intensity"),
            )
        except ValueError as error:  # A size that is no multiple of the patches.
            raise InputError(
                f"{self._named} has a description of no model of this package: {error}"
            ) from error
        self.intensity = self.image_converter.intensity

    converter = old_member("converter", "image_converter")

    def predict_probabilities(self, images, indices):
        """As `ESPMedSAMImageSegmenter.predict_probabilities`, in batches of the artefact's size."""
        size = self.batch_size or len(images)
        starts = range(0, len(images), size)
        return np.concatenate([self._batch(images, indices, start, size) for start in starts])

    def _batch(self, images, indices, start, size):
        images, indices = images[start : start + size], indices[start : start + size]
        count = len(images)
        images = np.stack(filled_up(list(images), size))
        indices = np.array(filled_up(list(indices), size), "int32")
        inputs = {"images": images.astype("float32")}
        if self._takes_pixels:
            normalization = self.description["normalization"]
            inputs["images"] = to_pixels(images, normalization["mean"], normalization["divisor"])
        if self.takes_modalities:
            inputs["modalities"] = indices
        outputs = self.runtime(inputs)
        if self._takes_pixels:
            return self._checked(outputs, "probabilities", images.shape[:3])[:count]
        masks = self._checked(outputs, "masks", (*images.shape[:3], 1))
        return sigmoid(masks[:count, ..., 0])

    def _checked(self, outputs, name, shape):
        """An output, refused where it is none: NaN is below every threshold, as if all were."""
        if name not in outputs:
            raise InputError(
                f"{self._named} gives {shown_value(sorted(outputs))}; expected {name}, as its "
                "description says. Get it again, or export the model again."
            )
        values = np.asarray(outputs[name])
        if values.shape != shape or values.dtype.kind != "f":
            raise InputError(
                f"{self._named} gives {name} of shape {values.shape} and type {values.dtype}; "
                f"expected {shape} and floating-point numbers. Get it again, or export the model "
                "again."
            )
        if not all_finite(values):
            raise InputError(
                f"{self._named} gives {name} that are no numbers (NaN or infinite), of which no "
                "mask can be made. Its weights are damaged, or too large for its precision: get it "
                "again, or export it in float32."
            )
        if name == "probabilities" and values.size and not _are_probabilities(values):
            raise InputError(
                f"{self._named} gives probabilities from {values.min():.3g} to {values.max():.3g}; "
                "expected 0 to 1. Get it again, or export the model again."
            )
        return values


def _normalization(values):
    for name, (mean, divisor) in NORMALIZATIONS.items():
        if np.allclose(mean, values["mean"]) and np.allclose(divisor, values["divisor"]):
            return name
    raise InputError("The artefact's normalisation is unknown to this version of the package.")


def _import_runtime(chosen):
    """Not within the time that an artefact has: some take seconds."""
    try:
        importlib.import_module(chosen.runtime)
    except ImportError as error:
        raise InputError(
            f"Running an artefact of the format {chosen.name} needs {chosen.runtime}, which is not "
            f"installed; install it with: {chosen.install}"
        ) from error


def _are_probabilities(values):
    # Of rounding in float16 and bfloat16.
    return values.min() >= -1e-3 and values.max() <= 1 + 1e-3
