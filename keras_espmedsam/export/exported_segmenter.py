"""An exported segmenter, used as the Keras model it was made from."""

import json
from pathlib import Path

import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.export.formats.export_format import get_format
from keras_espmedsam.export.request import description_path, to_pixels
from keras_espmedsam.export.runtimes import RUNTIMES
from keras_espmedsam.inference.image_batches import filled_up
from keras_espmedsam.inference.segment_images import (
    modality_indices,
    segment_images,
    sigmoid,
)
from keras_espmedsam.models import ESPMedSAMImageConverter
from keras_espmedsam.models.image_converter import NORMALIZATIONS


class ExportedSegmenter:
    """Segment images with an artefact of `export_for`, in the format's own runtime.

    For measuring an artefact as a preset is measured, with `keras_espmedsam.evaluation.evaluate`;
    programs that only use one need nothing of this package, see `examples/exported`.

    Args:
        path: the artefact; its JSON file lies beside it.

    Raises:
        InputError: where the file is none, or none of a segmenter.

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

    def __init__(self, path):
        path = Path(path)
        beside = description_path(path)
        try:
            description = json.loads(beside.read_text(encoding="utf-8"))
            chosen = get_format(description["format"])
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"The artefact {path} has no description {beside.name} beside it ({error}); keep "
                "the two together, as `espmedsam export` writes them."
            ) from error
        if description["task"] != "segmentation":
            raise InputError(f"{path} is an artefact for {description['task']}, no segmenter.")
        self._use(description, RUNTIMES[chosen.name](path))

    @classmethod
    def of(cls, description, runtime):
        """One that is loaded already, from its description and its runtime."""
        made = cls.__new__(cls)
        made._use(description, runtime)
        return made

    def _use(self, description, runtime):
        self.description = description
        self.modalities = tuple(description["modalities"])
        self.runtime = runtime
        self.batch_size, height, width, _ = description["inputs"]["images"]["shape"]
        self.converter = ESPMedSAMImageConverter(
            image_size=None if height is None else (height, width),
            resize_mode=description["resize_mode"],
            normalization=_normalization(description["normalization"]),
            intensity=description.get("intensity"),
        )
        self.intensity = self.converter.intensity

    def segment(
        self,
        images,
        modalities=None,
        threshold=0.5,
        batch_size=8,
        recognizer=None,
        mirror=False,
        intensity=None,
    ):
        """As `ESPMedSAMImageSegmenter.segment`."""
        size = self.batch_size or batch_size
        return segment_images(
            self, self.converter, self._probabilities, images, modalities, threshold, size,
            recognizer, mirror, intensity,
        )  # fmt: skip

    def modality_indices(self, modalities, count):
        """As `ESPMedSAMImageSegmenter.modality_indices`."""
        return modality_indices(self.modalities, modalities, count)

    def _probabilities(self, images, indices):
        count = len(images)
        if self.batch_size:
            images = np.stack(filled_up(list(images), self.batch_size))
            indices = np.array(filled_up(list(indices), self.batch_size))
        inputs = {"images": images.astype("float32")}
        if self.description["flavor"] == "pictures":
            normalization = self.description["normalization"]
            inputs["images"] = to_pixels(images, normalization["mean"], normalization["divisor"])
        if len(self.modalities) > 1:
            inputs["modalities"] = indices.astype("int32")
        outputs = self.runtime(inputs)
        if self.description["flavor"] == "pictures":
            return outputs["probabilities"][:count]
        return sigmoid(outputs["masks"][:count, ..., 0])


def _normalization(values):
    for name, (mean, divisor) in NORMALIZATIONS.items():
        if np.allclose(mean, values["mean"]) and np.allclose(divisor, values["divisor"]):
            return name
    raise InputError("The artefact's normalisation is unknown to this version of the package.")
