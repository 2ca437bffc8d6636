"""Recognise the modality of files before their images are segmented."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.images import ImageFile
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.intensity import AUTO, Intensity, already_read
from keras_espmedsam.inference.item_batches import batches
from keras_espmedsam.inference.recognition import Recognition, check_classes, decide

# How many slices, frames or pages of a file are averaged.
_SAMPLES = 5


class FileRecognizer:
    """Recognises the modality of images, and of files from a few of their images.

    Args:
        classifier: a `TiCImageClassifier`, or an object with its `classify`, `class_names` and
            `min_confidence`.
        modalities: the segmenter's modalities.
        batch_size: images per forward pass of the classifier.

    Raises:
        InputError: when the classifier recognises none of the modalities.
    """

    def __init__(self, classifier: Any, modalities: Sequence[str], batch_size: int):
        check_classes(classifier.class_names, modalities)
        self.classifier = classifier
        self.modalities = tuple(modalities)
        self.batch_size = batch_size

    def recognize(self, images: Sequence[DecodedImage]) -> list[Recognition]:
        """Recognise each of several images in memory."""
        return [self._decide([one]) for one in self._classified(images)]

    def recognize_file(self, file: ImageFile, intensity: Intensity = AUTO) -> Recognition:
        """Recognise a file with several images by the mean over a few that are spread over it.

        Args:
            file: the file.
            intensity: the values shown as black and white; see `read_images`.

        Raises:
            InputError: when one of them cannot be decoded.
        """
        found = []
        sampled = _sampled(file, intensity)
        for batch in batches(sampled, self.batch_size, lambda image: image.size):
            found.extend(self._classified(batch))
        return self._decide(found)

    def _classified(self, images):
        """Return the probabilities of each image, and whether it is blank."""
        arrays = [image.array for image in images]
        found = self.classifier.classify(
            arrays, batch_size=self.batch_size, **already_read(self.classifier)
        )
        blank = found.get("blank", [False] * len(arrays))
        if not len(found["probabilities"]) == len(blank) == len(arrays):
            raise InputError(
                f"The recogniser {type(self.classifier).__name__} returned "
                f"{len(found['probabilities'])} rows of probabilities and {len(blank)} entries of "
                f"'blank' for {len(arrays)} images; expected one per image."
            )
        return list(zip(found["probabilities"], blank, strict=True))

    def _decide(self, classified):
        # Slices at the ends of a volume are often empty, so blank ones do not count.
        shown = [values for values, blank in classified if not blank]
        probabilities = shown or [values for values, _ in classified]
        return decide(
            np.asarray(probabilities),
            self.classifier.class_names,
            self.classifier.min_confidence,
            self.modalities,
            blank=not shown,
        )


def basis(file: ImageFile) -> str:
    """Describe how a file was recognised, `mean of 5 of 120 frames`; empty for a single image."""
    if file.count == 1:
        return ""
    some = len(_sample_indices(file.count))
    return f"mean of {some} of {file.count} {file.format.image_word}s"


def _sampled(file: ImageFile, intensity: Intensity) -> Iterator[DecodedImage]:
    # Images can only be decoded in order; those after the last sample are not decoded.
    indices = _sample_indices(file.count)
    for image in file.images(intensity=intensity):
        if image.index in indices:
            yield image
        if image.index == indices[-1]:
            return


def _sample_indices(count: int) -> list[int]:
    """Return evenly spread indices, none at the ends, where a volume is often empty."""
    samples = min(_SAMPLES, count)
    return [(2 * i + 1) * count // (2 * samples) for i in range(samples)]
