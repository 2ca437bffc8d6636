"""Recognising the modality of files, before their images are segmented."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.images import ImageFile
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.intensity import AUTO, Intensity, already_read
from keras_espmedsam.inference.item_batches import batches
from keras_espmedsam.inference.recognition import Recognition, check_classes, decide

# Slices, frames or pages of one file whose mean decides.
_SAMPLES = 5


class FileRecognizer:
    """Recognises the modality of images, and of files from a few of their images.

    Args:
        classifier: a `TiCImageClassifier`, or an object with its `classify`, `class_names` and
            `min_confidence`.
        modalities: those that the segmenter knows.
        batch_size: how many images are classified at a time.

    Raises:
        InputError: when the classifier recognises none of the modalities.

    Source: ours.
    """

    def __init__(self, classifier: Any, modalities: Sequence[str], batch_size: int):
        check_classes(classifier.class_names, modalities)
        self.classifier = classifier
        self.modalities = tuple(modalities)
        self.batch_size = batch_size

    def recognize(self, images: Sequence[DecodedImage]) -> list[Recognition]:
        """What each image is, all of them held."""
        return [self._decide([one]) for one in self._classified(images)]

    def recognize_file(self, file: ImageFile, intensity: Intensity = AUTO) -> Recognition:
        """What a file of several images is: the mean over some that are spread over it.

        Args:
            file: the file.
            intensity: what is black and white; see `read_images`.

        Raises:
            InputError: when one of them cannot be decoded.
        """
        found = []
        sampled = _sampled(file, intensity)
        for batch in batches(sampled, self.batch_size, lambda image: image.size):
            found.extend(self._classified(batch))
        return self._decide(found)

    def _classified(self, images):
        """The probabilities of each image, and whether it shows nothing."""
        arrays = [image.array for image in images]
        found = self.classifier.classify(
            arrays, batch_size=self.batch_size, **already_read(self.classifier)
        )
        blank = found.get("blank", [False] * len(arrays))
        if not len(found["probabilities"]) == len(blank) == len(arrays):
            raise InputError(
                f"The recogniser {type(self.classifier).__name__} gave "
                f"{len(found['probabilities'])} rows of probabilities and {len(blank)} marks of "
                f"blank images for {len(arrays)} images; expected one each."
            )
        return list(zip(found["probabilities"], blank, strict=True))

    def _decide(self, classified):
        # Slices at the ends of a volume are often empty, and say nothing.
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
    """What a file's recognition rests on, such as `mean of 5 of 120 frames`; empty for one."""
    if file.count == 1:
        return ""
    some = len(_sample_indices(file.count))
    return f"mean of {some} of {file.count} {file.format.image_word}s"


def _sampled(file: ImageFile, intensity: Intensity) -> Iterator[DecodedImage]:
    # Images can only be decoded in turn: those after the last sample are spared.
    indices = _sample_indices(file.count)
    for image in file.images(intensity=intensity):
        if image.index in indices:
            yield image
        if image.index == indices[-1]:
            return


def _sample_indices(count: int) -> list[int]:
    """Evenly spread and never at the very ends: those of a volume are often empty."""
    samples = min(_SAMPLES, count)
    return [(2 * i + 1) * count // (2 * samples) for i in range(samples)]
