"""Recognising the modality of files, before their pictures are segmented."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_espmedsam.cli.batches import batches
from keras_espmedsam.data.picture import Picture
from keras_espmedsam.data.pictures import PictureFile
from keras_espmedsam.recognition import Recognition, check_classes, decide

# Slices, frames or pages of one file whose mean decides.
_SAMPLES = 5


class FileRecognizer:
    """Recognises the modality of pictures, and of files from a few of their pictures.

    Args:
        classifier: a `TiCImageClassifier`, or an object with its `classify`, `class_names` and
            `min_confidence`.
        modalities: those that the segmenter knows.
        batch_size: how many pictures are classified at a time.

    Raises:
        InputError: when the classifier recognises none of the modalities.

    Source: ours.
    """

    def __init__(self, classifier: Any, modalities: Sequence[str], batch_size: int):
        check_classes(classifier.class_names, modalities)
        self.classifier = classifier
        self.modalities = tuple(modalities)
        self.batch_size = batch_size

    def recognize(self, pictures: Sequence[Picture]) -> list[Recognition]:
        """What each picture is, all of them held."""
        return [self._decide(one) for one in self._probabilities(pictures)]

    def recognize_file(self, file: PictureFile) -> Recognition:
        """What a file of several pictures is: the mean over some that are spread over it.

        Raises:
            InputError: when one of them cannot be decoded.
        """
        found = []
        for batch in batches(_sampled(file), self.batch_size, lambda picture: picture.size):
            found.extend(self._probabilities(batch))
        return self._decide(found)

    def _probabilities(self, pictures):
        arrays = [picture.array for picture in pictures]
        return self.classifier.classify(arrays, batch_size=self.batch_size)["probabilities"]

    def _decide(self, probabilities):
        names, least = self.classifier.class_names, self.classifier.min_confidence
        return decide(np.asarray(probabilities), names, least, self.modalities)


def basis(file: PictureFile) -> str:
    """What a file's recognition rests on, such as `mean of 5 of 120 frames`; empty for one."""
    if file.count == 1:
        return ""
    what = "slices" if file.is_volume else "frames"
    some = len(_sample_indices(file.count))
    return f"mean of {some} of {file.count} {what}"


def _sampled(file: PictureFile) -> Iterator[Picture]:
    # Pictures can only be decoded in turn: those after the last sample are spared.
    indices = _sample_indices(file.count)
    for picture in file.pictures():
        if picture.index in indices:
            yield picture
        if picture.index == indices[-1]:
            return


def _sample_indices(count: int) -> list[int]:
    """Evenly spread and never at the very ends: those of a volume are often empty."""
    samples = min(_SAMPLES, count)
    return [(2 * i + 1) * count // (2 * samples) for i in range(samples)]
