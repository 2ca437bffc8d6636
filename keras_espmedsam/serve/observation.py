"""What a server measures and logs about its requests, none of it from their content."""

import logging
import time
from collections.abc import Hashable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keras_espmedsam.serve.accepted_requests import AcceptedRequests
from keras_espmedsam.serve.access import OPEN
from keras_espmedsam.serve.logs import LOGGER, described

_log = logging.getLogger(LOGGER)
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# For Prometheus, an unknown address or method must not make a time series of its own.
_OTHER = "other"
_WATCHED = (*OPEN, "/metrics")
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


class Metrics:
    """The metrics of a server, in Prometheus' text format.

    Args:
        accepted: the accepted requests, whose number is a metric.
    """

    def __init__(self, accepted: AcceptedRequests):
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "espmedsam_requests",
            "Requests that were answered.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "espmedsam_request_seconds",
            "Seconds from the first byte of a request to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._images = Histogram(
            "espmedsam_batch_images",
            "Images in a call of a model.",
            ("model", "call"),
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self._registry,
        )
        self._model_seconds = Histogram(
            "espmedsam_batch_seconds",
            "Seconds of a call of a model.",
            ("model", "call"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        active = Gauge(
            "espmedsam_accepted_requests",
            "Requests that are being answered or wait for it.",
            registry=self._registry,
        )
        active.set_function(lambda: accepted.count)

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_batch(self, key: Hashable, images: int, seconds: float) -> None:
        """Count a call of a model; an `observe` of `BatchQueue`."""
        assert isinstance(key, tuple)  # The model's name and what was called come first.
        self._images.labels(*key[:2]).observe(images)
        self._model_seconds.labels(*key[:2]).observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class Observed:
    """Counts and logs requests, and answers those that fail inside with 500.

    Args:
        app: the ASGI application.
        metrics: the metrics.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 0
        received = sent = 0
        fields: dict[str, Any] = {}

        async def counted_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def counted_send(message: Message) -> None:
            nonlocal status, sent
            status = message.get("status", status)
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, counted_receive, counted_send)
        except Exception as error:
            fields = described(error)
            if not status:
                sentence = "The server failed while it answered; its log says where."
                failed = JSONResponse({"error": sentence}, 500)
                await failed(scope, counted_receive, counted_send)
        finally:
            seconds = time.monotonic() - began
            route = getattr(scope.get("route"), "path", _OTHER)
            method = scope["method"] if scope["method"] in _METHODS else _OTHER
            self.metrics.count_request(route, method, status, seconds)
            fields |= {
                "route": route,
                "method": method,
                "status": status,
                "seconds": round(seconds, 4),
                "bytes_received": received,
                "bytes_sent": sent,
                **scope.get("state", {}).get("logged", {}),
            }
            level = logging.INFO
            if "error" in fields:
                level = logging.ERROR
            elif route in _WATCHED:
                level = logging.DEBUG  # Every few seconds, for as long as the server runs.
            _log.log(level, "request", extra={"fields": fields})
