"""Which image to label next."""

import secrets
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.images import inspect_image_file
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.inference import segment_files
from keras_espmedsam.serve.image_results import check_recognizer
from keras_espmedsam.serve.monai_label.inference import query_of
from keras_espmedsam.serve.monai_label.studies import FINAL, StoredImage
from keras_espmedsam.serve.problems import Problem
from keras_espmedsam.serve.served_model import ServedModel
from keras_espmedsam.serve.service import Service

RANDOM, FIRST, LEAST_CONFIDENT = "random", "first", "least_confident"
# Of the time of a request, what may be spent on images that were not looked at before.
_SHARE_OF_TIME = 0.5
_MOST_SECONDS = 10.0
# Where the images of a file are alike.
_IMAGES_OF_A_FILE = 3


class NextImage:
    """Chooses among the images without a final label.

    `first` takes the next in the order of names, `random` any. `least_confident` takes the one
    whose masks the model predicts to be worst: what it knows least about is worth most to label.
    It looks at as many images as half a request's time allows, remembers them, and goes on with
    the next request.

    Args:
        service: the models and their limits.
    """

    def __init__(self, service: Service):
        self._service = service
        self._dice: dict[tuple, float] = {}

    @property
    def strategies(self) -> dict[str, dict[str, Any]]:
        """dict of name to what MONAI Label says about a strategy."""
        found = {
            RANDOM: "Any image without a final label",
            FIRST: "The first image without a final label",
        }
        if self._judge() is not None:
            found[LEAST_CONFIDENT] = "The image whose masks are predicted to be worst"
        return {name: {"description": text, "config": {}} for name, text in found.items()}

    def choose(
        self,
        strategy: str,
        images: Iterable[StoredImage],
        params: dict[str, Any],
        deadline: float,
    ) -> tuple[StoredImage, dict[str, float]] | None:
        """Return an image and what the choice rests on, or None if all have a final label.

        Args:
            strategy: its name.
            images: all images.
            params: the parameters of the viewer; `modality` counts for `least_confident`.
            deadline: `time.monotonic()` until which the request has to be answered.

        Raises:
            Problem: with status 404, for another strategy.
        """
        if strategy not in self.strategies:
            hint = did_you_mean(strategy, self.strategies)
            raise Problem(
                404,
                f"There is no strategy {shown_value(strategy)}{hint} This server has: "
                f"{', '.join(self.strategies)}.",
            )
        left = [one for one in images if FINAL not in one.labels]
        if not left:
            return None
        if strategy == FIRST:
            return left[0], {}
        if strategy == RANDOM:
            return secrets.choice(left), {}
        model = self._judge()
        assert model is not None  # Else there is no such strategy.
        scores = self._scores(model, left, params, deadline)
        worst = min(scores, key=lambda id: scores[id])
        dice = {"predicted_dice": scores[worst]} if scores[worst] <= 1 else {}
        return next(one for one in left if one.id == worst), dice

    def _judge(self) -> ServedModel | None:
        """Return the first model that predicts how good its masks are."""
        models = self._service.models.values()
        return next((one for one in models if getattr(one.segmenter, "quality", None)), None)

    def _scores(
        self,
        model: ServedModel,
        images: Sequence[StoredImage],
        params: dict[str, Any],
        deadline: float,
    ) -> dict[str, float]:
        query = query_of(params)
        recognizer = self._service.recognizer(model, deadline)
        segmenter = self._service.segmenter(model, deadline)
        check_recognizer(segmenter, recognizer, query.modality)
        now = time.monotonic()
        until = now + min(_MOST_SECONDS, _SHARE_OF_TIME * (deadline - now))
        found: dict[str, float] = {}
        for image in images:
            key = _key(model, image.path, query.modality)
            if key not in self._dice and (not found or time.monotonic() < until):
                self._dice[key] = self._predicted_dice(
                    image.path, segmenter, recognizer, query.modality
                )
            if key in self._dice:
                found[image.id] = self._dice[key]
        return found

    def _predicted_dice(self, path: Path, segmenter: Any, recognizer: Any, modality: Any) -> float:
        """Return the mean predicted Dice of an image, or 2 if it cannot be told."""
        values: list[float] = []
        settings = self._service.settings
        try:
            file = inspect_image_file(path, settings.max_pixels)
            for number, result in enumerate(
                segment_files(
                    segmenter,
                    [file],
                    modality,
                    recognizer=recognizer,
                    batch_size=settings.batch_size,
                )
            ):
                if result.error is not None:
                    break
                values += map(float, result.quality.values())
                if number + 1 == _IMAGES_OF_A_FILE:
                    break
        except InputError:  # Not the request's fault: another image may do.
            pass
        return sum(values) / len(values) if values else 2.0


def _key(model: ServedModel, path: Path, modality: Any) -> tuple:
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        changed = 0
    return model.name, str(path), changed, modality
