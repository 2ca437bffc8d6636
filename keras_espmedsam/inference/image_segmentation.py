"""Images in, masks out, for whatever gives probabilities: a Keras model or an exported one."""

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_espmedsam.errors import InputError, warn_of_input
from keras_espmedsam.imaging.arrays import ImageLike
from keras_espmedsam.imaging.content import is_blank
from keras_espmedsam.imaging.finite import all_finite
from keras_espmedsam.imaging.intensity import Intensity, parse_intensity
from keras_espmedsam.imaging.raw_batch import image_rows, read_row
from keras_espmedsam.inference.auto_modality import recognize_missing
from keras_espmedsam.inference.image_batches import check_batch_size, filled_up, image_batches
from keras_espmedsam.inference.modalities import modality_indices


class SegmentsImages:
    """Gives a model `segment`, whatever runs it.

    A class that derives from it has:

    - `modalities`: tuple of str;
    - `image_converter`: `HostImageConverter`, which makes of any image what the model takes;
    - `predict_probabilities(images, indices)`: from converted images `(batch, height, width, 3)`
      and modality indices `(batch,)`, int32, to `(batch, height, width)` float32, all NumPy.

    Example:
        >>> class Bright(SegmentsImages):
        ...     modalities = ("fundus",)
        ...     image_converter = kem.models.ESPMedSAMImageConverter(image_size=(32, 32))
        ...     def predict_probabilities(self, images, indices):
        ...         return (images[..., 0] > 0).astype("float32")
        >>> int(Bright().segment(np.eye(32, dtype="uint8") * 255)["masks"].sum())
        32

    Source: ours.
    """

    modalities: tuple[str, ...]
    image_converter: Any  # A class of models, which lie above.
    predict_probabilities: Callable[[np.ndarray, np.ndarray], np.ndarray]

    @property
    def takes_modalities(self) -> bool:
        """Whether each image's modality is an input: so it is of a model of several.

        Source: ours.
        """
        return len(self.modalities) > 1

    def modality_indices(self, modalities: Any, count: int) -> np.ndarray:
        """Names or indices to an int32 array with one index per image.

        Raises:
            InputError: for an unknown name, an index out of range, or a wrong number of them.

        Source: ours.
        """
        return modality_indices(self.modalities, modalities, count)

    def segment(
        self,
        images: ImageLike,
        modalities: Any = None,
        threshold: float = 0.5,
        batch_size: int = 8,
        recognizer: Any = None,
        mirror: bool = False,
        intensity: Intensity | None = None,
    ) -> dict[str, Any]:
        """Find each image's target and give its mask at the image's own size.

        Args:
            images: one image, `(height, width)` or `(height, width, channels)` with grey, RGB
                or RGBA values in uint8, uint16 or float in [0, 1], as an array, a Pillow image
                or a tensor of any backend; or several: a list, tuple or object array of them, of
                any sizes, or one array or tensor `(batch, height, width, channels)`.
            modalities: one name or index for all, or a list, array or tensor with one per
                image; not needed when the model has one modality. `"auto"`, for all or in the
                list, lets a classifier recognise it.
            threshold: float in [0, 1]. Probability from which a pixel is foreground.
            batch_size: int. Images per forward pass.
            recognizer: `TiCImageClassifier` for `"auto"`, or the name or folder of its preset;
                `None` is `tic_tiny_modality`. Built-in ones are loaded once, a folder each time.
            mirror: bool. Average each image's probabilities with those that its mirror image
                gives, mirrored back: test-time augmentation, for twice the time.
            intensity: what is black and white: `"auto"`, `"full"` or a pair of values; see
                `keras_espmedsam.data.read_images`. `None` for what the preset says.

        Returns:
            dict of `masks` (bool) and `probabilities` (float32), each `(height, width)`;
            `modalities`, the name that was used; `confidences`, how sure the classifier was
            of it (float), or `None` where it was given; and `blank`, whether the image shows
            nearly one brightness all over. For several images, lists of them.

        Warns:
            InputWarning: for images that show nearly one brightness all over, and for uint16
                whose values are taken for black and white.

        Raises:
            InputError: for images, modalities or a threshold that cannot be used, before
                anything is segmented. With `"auto"` also when an image is not recognised with
                the confidence that the classifier's preset asks for, or as a modality that this
                model does not know; the message gives its number and the candidates. To go on
                without such images, ask the classifier's `classify` first.

        Example:
            >>> segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset("espmedsam_nano_256")
            >>> image = np.zeros((300, 400, 3), "uint8")
            >>> result = segmenter.segment(image, "fundus")
            >>> result["masks"].shape, result["modalities"], result["confidences"]
            ((300, 400), 'fundus', None)

        Source: ours.
        """
        converter = self.image_converter
        check_threshold(threshold)
        check_batch_size(batch_size)
        images, several = image_rows(images)
        intensity = parse_intensity(intensity)
        indices = modality_indices(self.modalities, modalities, len(images), auto=True)
        confidences = recognize_missing(
            indices, images, self.modalities, recognizer, batch_size, intensity
        )
        probabilities: list[Any] = [None] * len(images)  # Each is given its array below.
        blank = [False] * len(images)
        for batch, size in image_batches(converter, images, batch_size):
            chosen = [read_row(converter, images, i, intensity) for i in batch]
            for i, image in zip(batch, chosen, strict=True):
                blank[i] = is_blank(image)
            found = self._at_own_size(chosen, indices[batch], size)
            if mirror:
                mirrored = [image[:, ::-1] for image in chosen]
                others = self._at_own_size(mirrored, indices[batch], size)
                found = [(a + b[:, ::-1]) / 2 for a, b in zip(found, others, strict=True)]
            for i, values in zip(batch, found, strict=True):
                probabilities[i] = values
        result = {
            "masks": [values >= np.float32(threshold) for values in probabilities],
            "probabilities": probabilities,
            "modalities": [self.modalities[i] for i in indices],
            "confidences": confidences,
            "blank": blank,
        }
        _warn_of_blank(blank)
        return result if several else {name: values[0] for name, values in result.items()}

    def _at_own_size(self, images, indices, size):
        """Of RGB images that fill a batch of `size` or less, each at its own size."""
        converter = self.image_converter
        placed = [converter.convert(image) for image in images]
        values = self.predict_probabilities(
            np.stack(filled_up(placed, size)), np.array(filled_up(list(indices), size))
        )
        # NaN is below every threshold: the masks would be empty, as where nothing is found.
        if not all_finite(values):
            raise InputError(
                "The model gives NaN or infinite values for an image; its weights are damaged, or "
                "too great for what it computes in. Take weights from before, or float32."
            )
        return [
            converter.place(image.shape[:2]).backward(value)
            for image, value in zip(images, values[: len(images)], strict=True)
        ]


def check_threshold(threshold: Any) -> None:
    """Refuse what is no probability.

    Raises:
        InputError: for it.

    Source: ours.
    """
    if not isinstance(threshold, numbers.Real) or not 0 <= float(threshold) <= 1:
        raise InputError(f"Received threshold={threshold!r}; expected a number from 0 to 1.")


def _warn_of_blank(blank):
    numbers = [i for i, one in enumerate(blank) if one]
    if numbers:
        which = "The image shows" if len(blank) == 1 else f"{_listed(numbers)} show"
        warn_of_input(
            f"{which} nearly one brightness all over; a mask of it says nothing.", stacklevel=3
        )


def _listed(numbers, most=3):
    named = ", ".join(f"images[{i}]" for i in numbers[:most])
    return named + (f" and {len(numbers) - most} more" if len(numbers) > most else "")


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities of NumPy logits, in float32, without overflow.

    Example:
        >>> sigmoid(np.zeros(1)).tolist()
        [0.5]

    Source: ours.
    """
    return 0.5 * (1 + np.tanh(0.5 * logits.astype("float32")))
