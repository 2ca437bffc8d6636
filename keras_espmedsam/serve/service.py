"""What the routes of a server share: its models, its queue and its limits."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from starlette.requests import Request

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import did_you_mean
from keras_espmedsam.serve.accepted_requests import AcceptedRequest, AcceptedRequests
from keras_espmedsam.serve.batch_queue import BatchQueue
from keras_espmedsam.serve.logs import LOGGER, described
from keras_espmedsam.serve.observation import Metrics
from keras_espmedsam.serve.problems import Problem
from keras_espmedsam.serve.queued_models import QueuedRecognizer, QueuedSegmenter, warm_up
from keras_espmedsam.serve.request_body import discard_body, save_body
from keras_espmedsam.serve.served_model import ServedModel, by_name
from keras_espmedsam.serve.settings import ServerSettings

_log = logging.getLogger(LOGGER)
# The longest that a rejected body is read for, so that its client reads the answer.
_SECONDS_OF_REJECTED = 5.0


class Service:
    """The models of a server, the queue of their calls and the accepted requests.

    Args:
        models: the models.
        settings: the limits.

    Raises:
        InputError: when there is no model, or two have the same name.
    """

    def __init__(self, models: Iterable[ServedModel], settings: ServerSettings):
        self.models = by_name(models)
        self.settings = settings
        self.accepted = AcceptedRequests(settings)
        self.metrics = Metrics(self.accepted)
        self.queue = BatchQueue(settings.batch_size, settings.batch_wait, self.metrics.count_batch)
        self.ready = False
        self._stopping = False

    def start(self) -> None:
        """Run each model once for each batch size, in a thread; then the server is ready."""
        threading.Thread(target=self._warm_up, name="espmedsam-warm-up", daemon=True).start()

    def stop(self) -> None:
        """Finish what is accepted, and end all threads."""
        self.ready, self._stopping = False, True
        self.accepted.close()
        self.queue.close()

    def model(self, name: str | None) -> ServedModel:
        """Return a model by its name; without a name, the only one.

        Raises:
            Problem: with status 404 for an unknown name, 400 if a name is needed.
        """
        if name is None and len(self.models) == 1:
            return next(iter(self.models.values()))
        if name is None:
            raise Problem(400, f"Give model, one of: {', '.join(self.models)}.")
        if name not in self.models:
            hint = did_you_mean(name, self.models)
            raise Problem(
                404,
                f"There is no model {shown_value(name)}{hint} This server has: "
                f"{', '.join(self.models)}.",
            )
        return self.models[name]

    def segmenter(self, model: ServedModel, deadline: float) -> QueuedSegmenter:
        """Return a model's segmenter for one request, whose calls go through the queue."""
        return QueuedSegmenter(model, self.queue, deadline)

    def recognizer(self, model: ServedModel, deadline: float) -> QueuedRecognizer | None:
        """Return a model's recogniser for one request; None if it has none."""
        if model.recognizer is None:
            return None
        return QueuedRecognizer(model, self.queue, deadline)

    async def answer(
        self,
        request: Request,
        work: Callable[[Path, AcceptedRequest], Any],
        may_be_empty: bool = False,
    ) -> Any:
        """Accept a request, keep its body in a file, and work on it in a thread.

        Args:
            request: the request.
            work: called with the path of the body and the accepted request.
            may_be_empty: whether a request needs no body.

        Returns:
            What `work` returns.

        Raises:
            Problem: when it is not accepted, its body cannot be used or its time is up.
        """
        settings = self.settings
        try:
            accepted = self.accepted.accept()
        except Problem:
            await discard_body(request, settings.max_bytes, _SECONDS_OF_REJECTED)
            raise
        async with accepted:
            path = accepted.folder / "image"
            await save_body(request, path, settings.max_bytes, accepted.deadline, may_be_empty)
            return await accepted.run(lambda: work(path, accepted))

    def _warm_up(self):
        for model in self.models.values():
            began = time.monotonic()
            try:
                warm_up(model, self.queue)
            except Exception as error:
                if self._stopping:
                    return
                # Not ready, so that whoever watches the server restarts or replaces it.
                fields = {"model": model.name, **described(error)}
                _log.error("the model cannot be run", extra={"fields": fields})
                return
            fields = {"model": model.name, "seconds": round(time.monotonic() - began, 3)}
            _log.info("the model is ready", extra={"fields": fields})
        self.ready = True
