"""An exported segmenter, used as the Keras model it was made from."""

import json
from pathlib import Path

import numpy as np

from keras_espmedsam._renamed import old_member
from keras_espmedsam.errors import InputError
from keras_espmedsam.export.formats import get_format
from keras_espmedsam.export.request import OLD_FLAVORS, description_path, to_pixels
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

    Raises:
        InputError: where the file is none, or none of a segmenter, and for a precision that its
            runtime or the processor does not have.

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

    def __init__(self, path, precision="float32"):
        path = Path(path)
        beside = description_path(path)
        try:
            description = json.loads(beside.read_text(encoding="utf-8"))
            name = description["format"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"The artefact {path} has no description {beside.name} beside it ({error}); keep "
                "the two together, as `espmedsam export` writes them."
            ) from error
        if description["task"] != "segmentation":
            raise InputError(f"{path} is an artefact for {description['task']}, no segmenter.")
        chosen = get_format(name)
        check_precision(precision, chosen)
        self.precision = precision
        # Formats of other packages need not know of it.
        options = {} if precision == "float32" else {"precision": precision}
        self._use(description, chosen.load(path, **options))

    @classmethod
    def of(cls, description, runtime):
        """One that is loaded already, from its description and its runtime."""
        made = cls.__new__(cls)
        made._use(description, runtime)
        return made

    def _use(self, description, runtime):
        self.description = description
        flavor = description["flavor"]
        self._takes_pixels = OLD_FLAVORS.get(flavor, flavor) == "images"
        self.modalities = tuple(description["modalities"])
        self.runtime = runtime
        self.batch_size, height, width, _ = description["inputs"]["images"]["shape"]
        self.image_converter = ESPMedSAMImageConverter(
            image_size=None if height is None else (height, width),
            resize_mode=description["resize_mode"],
            normalization=_normalization(description["normalization"]),
            intensity=description.get("intensity"),
        )
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
            return outputs["probabilities"][:count]
        return sigmoid(outputs["masks"][:count, ..., 0])


def _normalization(values):
    for name, (mean, divisor) in NORMALIZATIONS.items():
        if np.allclose(mean, values["mean"]) and np.allclose(divisor, values["divisor"]):
            return name
    raise InputError("The artefact's normalisation is unknown to this version of the package.")
