"""Use an exported segmenter like the Keras model that it was made from."""

from pathlib import Path

import numpy as np

from keras_espmedsam._renamed import old_member
from keras_espmedsam._shown import shown, shown_value
from keras_espmedsam._startup import import_runtime
from keras_espmedsam.errors import InputError
from keras_espmedsam.export.artefact_files import check_files, read_description
from keras_espmedsam.export.bounded_runtime import BoundedRuntime
from keras_espmedsam.export.description import targets_of
from keras_espmedsam.export.request import OLD_FLAVORS, to_pixels
from keras_espmedsam.imaging.finite import all_finite
from keras_espmedsam.inference.image_batches import filled_up
from keras_espmedsam.inference.image_segmentation import SegmentsImages, sigmoid
from keras_espmedsam.inference.precision import check_precision
from keras_espmedsam.models import ESPMedSAMImageConverter
from keras_espmedsam.models.image_converter import NORMALIZATIONS


class ExportedSegmenter(SegmentsImages):
    """Segment images with an artefact of `export_for`, in the format's own runtime.

    Use it to evaluate an artefact like a preset, with `keras_espmedsam.evaluation.evaluate`. To
    only run an artefact, a program does not need this package; see `examples/exported`.

    Args:
        path: the artefact; its JSON file lies next to it.
        precision: str. Precision to compute in: `"float32"`, or `"bfloat16"` for OpenVINO, on a
            processor that supports it.
        trust: bool. Whether you trust its maker as you would trust a program: its operators are
            then not checked, and time and memory are not limited. Otherwise it may take 60 seconds
            to load and 60 seconds per call (in proportion for more than a million pixels), or as
            long as the environment variable `ESPMEDSAM_ARTEFACT_SECONDS` says.

    Raises:
        InputError: if the file is not an artefact of a segmenter, is damaged, differs from its
            description or does more than mathematics; for a precision that its runtime or the
            processor does not support. `segment` raises it if the artefact returns invalid
            probabilities, or takes too long.

    Example:
        >>> import tempfile
        >>> segmenter = ESPMedSAMImageSegmenter.from_preset("espmedsam_nano_256")
        >>> path = tempfile.mkdtemp() + "/mole"
        >>> _ = segmenter.export_for("saved_model", path, modality="dermoscopy")
        >>> image = np.zeros((300, 400, 3), "uint8")
        >>> ExportedSegmenter(path).segment(image)["masks"].shape
        (300, 400)
    """

    precision = "float32"

    def __init__(self, path, precision="float32", trust=False):
        path = Path(path)
        description, chosen = read_description(path)
        check_precision(precision, chosen)
        check_files(path, chosen, description)
        _import_runtime(chosen)
        self.precision = precision
        # Formats of other packages may not support it.
        options = {} if precision == "float32" else {"precision": precision}

        def load():
            if not trust:
                chosen.check(path)
            return chosen.load(path, **options)

        self._use(description, BoundedRuntime(load, path, unbounded=trust), path)

    @classmethod
    def of(cls, description, runtime):
        """Build from a description and a loaded runtime."""
        made = cls.__new__(cls)
        made._use(description, runtime)
        return made

    def _use(self, description, runtime, path=None):
        self.description = description
        self._named = "The artefact" if path is None else f"The artefact {shown(path)}"
        flavor = description["flavor"]
        self._takes_pixels = OLD_FLAVORS.get(flavor, flavor) == "images"
        self.modalities = tuple(description["modalities"])
        self.target_set = targets_of(description)
        self.postprocessing = description.get("postprocessing") or {}
        self.quality = description.get("predicts_quality") or {}
        self.scope = description.get("tells_scope") or []
        self.probability_calibration = description.get("probability_calibration") or {}
        self.guarantees = description.get("guarantees") or {}
        self.runtime = runtime
        self.batch_size, height, width, _ = description["inputs"]["images"]["shape"]
        try:
            self.image_converter = ESPMedSAMImageConverter(
                image_size=None if height is None else (height, width),
                resize_mode=description["resize_mode"],
                normalization=_normalization(description["normalization"]),
                intensity=description.get("intensity"),
            )
        except ValueError as error:  # A size that is not a multiple of the patch size.
            raise InputError(
                f"{self._named} has a description that fits no model of this package: {error}"
            ) from error
        self.intensity = self.image_converter.intensity

    converter = old_member("converter", "image_converter")

    def predict_probabilities(self, images, indices):
        """Like `ESPMedSAMImageSegmenter.predict_probabilities`, in the artefact's batch size."""
        return self.predict_outputs(images, indices)["probabilities"]

    def predict_outputs(self, images, indices):
        """Like `ESPMedSAMImageSegmenter.predict_outputs`, in the artefact's batch size."""
        size = self.batch_size or len(images)
        starts = range(0, len(images), size)
        found = [self._batch(images, indices, start, size) for start in starts]
        return {name: np.concatenate([one[name] for one in found]) for name in found[0]}

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
        channels = self.target_set.num_channels
        name = "probabilities" if self._takes_pixels else "masks"
        one_plane = self._takes_pixels and channels == 1
        shape = images.shape[:3] if one_plane else (*images.shape[:3], channels)
        own = self._own_channels(indices)
        values = self._checked(outputs, name, shape, own)[:count]
        if not self._takes_pixels:
            values = sigmoid(values[..., 0] if channels == 1 else values)
        values = values if own is None else np.where(own[:count], values, np.float32(0))
        found = {"probabilities": values}
        if self.quality:
            quality = self._checked(outputs, "quality", (len(images), channels))[:count]
            found["quality"] = quality.clip(0, 1)
        if self.scope:
            found["scope_score"] = self._checked(outputs, "scope_score", (len(images),))[:count]
        return found

    def _own_channels(self, indices):
        """Return which channels each image has, `(batch, 1, 1, channels)`; `None` for all."""
        targets = self.target_set
        counts = np.array([len(targets.channels(name)) for name in self.modalities])[indices]
        own = np.arange(targets.num_channels) < counts[:, None, None, None]
        return None if own.all() else own

    def _checked(self, outputs, name, shape, own=None):
        """Return a checked output: NaN is below every threshold, so it would look like no mask.

        Channels that an image does not have are 0, whatever the runtime gives: their logits are
        infinite.
        """
        if name not in outputs:
            raise InputError(
                f"{self._named} gives {shown_value(sorted(outputs))}; expected {name}, as its "
                "description says. Get it again, or export the model again."
            )
        values = np.asarray(outputs[name])
        if values.shape != shape or values.dtype.kind != "f":
            raise InputError(
                f"{self._named} gives {name} of shape {values.shape} and type {values.dtype}; "
                f"expected {shape} and floating-point numbers{self._told(values, shape)}. Get it "
                "again, or export the model again."
            )
        if own is not None:
            values = np.where(own, values, np.float32(0))
        if not all_finite(values):
            raise InputError(
                f"{self._named} gives {name} that are not numbers (NaN or infinite), so no mask "
                "can be made from them. Its weights are damaged, or too large for its precision: "
                "get it again, or export it in float32."
            )
        if name == "probabilities" and values.size and not _are_probabilities(values):
            raise InputError(
                f"{self._named} gives probabilities from {values.min():.3g} to {values.max():.3g}; "
                "expected 0 to 1. Get it again, or export the model again."
            )
        return values

    def _told(self, values, shape):
        """Say that the description is another artefact's, if only the channels differ."""
        channels = self.target_set.num_channels
        planes = values.shape[3] if values.ndim == 4 else 1
        if values.ndim not in (3, 4) or values.shape[:3] != shape[:3] or planes == channels:
            return ""
        return (
            f"; its description has targets of {channels} channel{'s' * (channels > 1)}, so it is "
            "that of another artefact"
        )


def _normalization(values):
    for name, (mean, divisor) in NORMALIZATIONS.items():
        if np.allclose(mean, values["mean"]) and np.allclose(divisor, values["divisor"]):
            return name
    raise InputError("The artefact's normalisation is unknown to this version of the package.")


def _import_runtime(chosen):
    """Import the runtime outside the artefact's time limit: some take seconds."""
    try:
        import_runtime(chosen.runtime)
    except ImportError as error:
        raise InputError(
            f"Running an artefact of the format {chosen.name} needs {chosen.runtime}, which is not "
            f"installed; install it with: {chosen.install}"
        ) from error


def _are_probabilities(values):
    # The tolerance is for rounding in float16 and bfloat16.
    return values.min() >= -1e-3 and values.max() <= 1 + 1e-3
