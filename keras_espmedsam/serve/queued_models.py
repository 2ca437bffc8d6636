"""A segmenter and a recogniser whose calls go through the queue of a server."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_espmedsam.errors import told_otherwise
from keras_espmedsam.imaging.intensity import already_read
from keras_espmedsam.inference.test_time import converter_of
from keras_espmedsam.serve.batch_queue import BatchQueue
from keras_espmedsam.serve.served_model import ServedModel


class _Queued:
    """Stands for a model in one request."""

    def __init__(self, model: Any, name: str, queue: BatchQueue, deadline: float | None):
        self._model = model
        self._name = name
        self._queue = queue
        self._deadline = deadline

    def __getattr__(self, name: str) -> Any:
        # Whatever else is asked of a model: modalities, targets, guarantees and so on.
        return getattr(self._model, name)

    def _call(
        self,
        method: str,
        items: list[Any],
        options: Mapping[str, Any],
        counted: str,
        shape: Callable[[Any], Hashable] = lambda item: None,
    ) -> dict[str, list[Any]]:
        """Have the columns of a result computed, a row for each item."""
        function = getattr(self._model, method)

        def run(rows):
            with told_otherwise():  # A server has no terminal; its answers say the same.
                found = function(*map(list, zip(*rows, strict=True)), **options)
            count = len(found[counted])
            columns = {name: values for name, values in found.items() if len(values) == count}
            return [{name: values[k] for name, values in columns.items()} for k in range(count)]

        key = (self._name, method, _frozen(options))
        rows = self._queue.call(key, run, items, self._deadline, shape)
        return {name: [row[name] for row in rows] for name in rows[0]} if rows else {counted: []}


class QueuedSegmenter(_Queued):
    """Segments for one request; takes the place of the segmenter in `segment_files`.

    Args:
        model: the model.
        queue: the queue that makes its calls.
        deadline: `time.monotonic()` until which the request has to be answered; None for never.

    Example:
        >>> import types
        >>> bright = types.SimpleNamespace(
        ...     modalities=("xray",),
        ...     segment=lambda images, names, **options: {"masks": [one > 0 for one in images]},
        ... )
        >>> queue = BatchQueue()
        >>> segmenter = QueuedSegmenter(ServedModel("bright", bright), queue)
        >>> segmenter.segment([np.array([[0, 9]])], ["xray"])["masks"][0].tolist()
        [[False, True]]
        >>> queue.close()
    """

    def __init__(self, model: ServedModel, queue: BatchQueue, deadline: float | None = None):
        super().__init__(model.segmenter, model.name, queue, deadline)

    def segment(
        self, images: Sequence[Any], modalities: Sequence[str], **options: Any
    ) -> dict[str, list[Any]]:
        """Segment images; arguments and results are those of the segmenter, for a list of images.

        Raises:
            TimeoutError: when the deadline of the request has passed.
        """
        items = list(zip(images, modalities, strict=True))
        return self._call("segment", items, options, "masks", self._shape)

    def _shape(self, item):
        return _input_size(self._model, *item)


class QueuedRecognizer(_Queued):
    """Recognises modalities for one request; takes the place of the recogniser.

    Args:
        model: the model, whose `recognizer` is not None.
        queue: the queue that makes its calls.
        deadline: `time.monotonic()` until which the request has to be answered.
    """

    def __init__(self, model: ServedModel, queue: BatchQueue, deadline: float):
        super().__init__(model.recognizer, model.name, queue, deadline)

    def classify(self, images: Sequence[Any], **options: Any) -> dict[str, list[Any]]:
        """Classify images; arguments and results are those of the recogniser.

        Raises:
            TimeoutError: when the deadline of the request has passed.
        """
        return self._call("classify", [(one,) for one in images], options, "probabilities")


def _input_size(segmenter: Any, image: np.ndarray, modality: str) -> Hashable:
    """Return the size at which a segmenter computes an image, if it says it."""
    converter = getattr(segmenter, "image_converter", None)
    if converter is None:
        return None
    converter = converter_of(converter, modality)
    return converter.image_size, converter.place(image.shape[:2]).canvas


def warm_up(model: ServedModel, queue: BatchQueue) -> None:
    """Run a model once for each batch size and size of its input.

    Then it is compiled, where the backend compiles.

    Args:
        model: the model.
        queue: the queue that will make its calls.
    """
    image = np.zeros((64, 64, 3), "uint8")
    image[16:48, 16:48] = 255
    of_size: dict[Hashable, str] = {}
    for name in model.modalities:
        of_size.setdefault(_input_size(model.segmenter, image, name), name)

    def run(sizes):
        for size in sizes:
            with told_otherwise():
                if model.recognizer is not None:
                    found = already_read(model.recognizer)
                    model.recognizer.classify([image] * size, batch_size=queue.batch_size, **found)
                found = already_read(model.segmenter)
                for name in of_size.values():
                    model.segmenter.segment(
                        [image] * size, [name] * size, batch_size=queue.batch_size, **found
                    )
        return sizes

    for size in queue.sizes:
        queue.call((model.name, "warm up", size), run, [size])


def _frozen(value: Any) -> Hashable:
    """Return arguments as something that can be compared and hashed."""
    if isinstance(value, Mapping):
        return tuple(sorted((name, _frozen(one)) for name, one in value.items()))
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    return value
