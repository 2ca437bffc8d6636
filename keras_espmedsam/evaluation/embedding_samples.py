"""What the embedding says of images that are given as images of a modality."""

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_espmedsam.imaging.arrays import ImageLike
from keras_espmedsam.imaging.intensity import AUTO
from keras_espmedsam.imaging.raw_batch import read_row
from keras_espmedsam.inference.image_batches import filled_up
from keras_espmedsam.inference.test_time import converter_of
from keras_espmedsam.models.batch_prediction import compiled_alone
from keras_espmedsam.ops.embedding_statistics import embedding_statistics

_BATCH = 8


class EmbeddingSample(NamedTuple):
    """What the embedding says of one image that is given as one modality.

    Attributes:
        said: the modality.
        dataset: the data set of the image, or what else it is known by.
        kind: what it is to the one who asks, such as "own".
        statistics: float32 `(2 * channels,)`, see
            `keras_espmedsam.ops.embedding_statistics`.
    """

    said: str
    dataset: str
    kind: str
    statistics: np.ndarray


class EmbeddingSamples:
    """Computes what the embedding says of images, in batches of one size each.

    Args:
        segmenter: an `ESPMedSAMImageSegmenter`, with an image converter.
    """

    def __init__(self, segmenter: Any) -> None:
        self._segmenter = segmenter
        self._model = segmenter.embedding_model()
        self._waiting: dict[Any, list[tuple[np.ndarray, str, str, str]]] = {}
        self._samples: list[EmbeddingSample] = []

    def add(self, image: ImageLike, said: str, dataset: str = "", kind: str = "own") -> None:
        """Add an image, as `segment` takes it, that is given as the modality `said`."""
        converter = converter_of(self._segmenter.image_converter, said)
        canvas = converter.convert(read_row(converter, [image], 0, AUTO))
        waiting = self._waiting.setdefault(canvas.shape, [])
        waiting.append((canvas, said, dataset, kind))
        if len(waiting) == _BATCH:
            self._run(canvas.shape)

    def done(self) -> list[EmbeddingSample]:
        """Return the `EmbeddingSample` of all images; those of one size are in their order."""
        for shape in list(self._waiting):
            self._run(shape)
        return self._samples

    def _run(self, shape):
        waiting = self._waiting.pop(shape)
        numbers = [self._segmenter.modalities.index(said) for _, said, *_ in waiting]
        # Filled up, since JAX and TensorFlow compile each batch size.
        images = np.stack(filled_up([canvas for canvas, *_ in waiting], _BATCH))
        indices = np.array(filled_up(numbers, _BATCH), "int32")
        inputs = self._segmenter.model_inputs(images, indices)
        with compiled_alone(self._model):
            embeddings = keras.ops.convert_to_tensor(self._model.predict_on_batch(inputs))
        statistics = keras.ops.convert_to_numpy(embedding_statistics(embeddings))
        for row, (_, said, dataset, kind) in zip(statistics, waiting, strict=False):
            self._samples.append(EmbeddingSample(said, dataset, kind, row))
