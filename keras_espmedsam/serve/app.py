"""The ASGI application of a server."""

import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

import keras_espmedsam
from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.serve.access import Guarded
from keras_espmedsam.serve.inference_protocol import protocol_router
from keras_espmedsam.serve.monai_label.router import monai_label_router
from keras_espmedsam.serve.monai_label.studies import Studies
from keras_espmedsam.serve.observation import Observed
from keras_espmedsam.serve.page_route import page_router
from keras_espmedsam.serve.problems import Problem
from keras_espmedsam.serve.segment_query import SegmentQuery
from keras_espmedsam.serve.segment_route import segment_router
from keras_espmedsam.serve.served_model import ServedModel
from keras_espmedsam.serve.service import Service
from keras_espmedsam.serve.settings import ServerSettings


def create_app(models: Iterable[ServedModel], settings: ServerSettings | None = None) -> FastAPI:
    """Return the application of a server, for uvicorn or another ASGI server.

    Use one process: each has its own models, its own queue and its own limits.

    Args:
        models: the models that it serves.
        settings: its limits, its token and its studies; None for the defaults, without a token
            and without studies.

    Returns:
        A FastAPI application. Its OpenAPI description is at `/openapi.json`.

    Raises:
        InputError: when there is no model, two have the same name, or the studies cannot be used.

    Example:
        >>> segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset("espmedsam_nano_256")
        >>> app = create_app([ServedModel("nano", segmenter)])
        >>> [path for path in sorted(app.openapi()["paths"]) if path.startswith("/m")]
        ['/metrics', '/models']

    Source: Open Inference Protocol (KServe v2) for what is below `/v2`; MONAI Label's REST API.
    """
    settings = settings or ServerSettings()
    service = Service(models, settings)
    folder = settings.studies
    studies = None if folder is None else Studies(folder, settings.max_pixels)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await run_in_threadpool(service.stop)

    app = FastAPI(
        title="keras-espmedsam",
        description="Segments medical images. For research use only; not a medical device.",
        version=keras_espmedsam.__version__,
        lifespan=lifespan,
        # These pages would load scripts from another host.
        docs_url=None,
        redoc_url=None,
        exception_handlers=_HANDLERS,
    )
    app.include_router(segment_router(service))
    app.include_router(protocol_router(service, keras_espmedsam.__version__))
    app.include_router(page_router(service))
    app.include_router(monai_label_router(service, studies, keras_espmedsam.__version__))

    @app.get("/health", tags=["operation"], summary="Whether the server is alive and ready")
    async def health(response: Response) -> dict[str, Any]:
        response.status_code = 200 if service.ready else 503
        return {"live": True, "ready": service.ready}

    @app.get(
        "/metrics",
        tags=["operation"],
        summary="Metrics for Prometheus",
        response_class=PlainTextResponse,
    )
    async def metrics() -> Response:
        return PlainTextResponse(service.metrics.text(), media_type="text/plain; version=0.0.4")

    # The last one is the outermost.
    app.add_middleware(Guarded, token=settings.token)
    app.add_middleware(Observed, metrics=service.metrics)
    _describe(app, settings)
    return app


def _answer(sentence: str, status: int, headers: Any = None) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, headers)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _answer(error.sentence, error.status, error.headers)


async def _bad_input(request: Request, error: Exception) -> Response:
    return _answer(str(error), 400)


async def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = {
        404: "There is nothing at this address; /openapi.json lists what there is.",
        405: "This address does not take this method; /openapi.json lists what there is.",
    }.get(error.status_code, f"{error.detail}.")
    return _answer(sentence, error.status_code, error.headers)


async def _bad_query(request: Request, error: Exception) -> Response:
    """Say in a sentence what pydantic found in the query."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1])
    if first["type"] == "extra_forbidden":
        known = list(SegmentQuery.model_fields)
        sentence = f"Received the parameter {shown_value(name)}{did_you_mean(name, known)}"
        return _answer(f"{sentence} Expected some of {', '.join(known)}.", 400)
    if first["type"] == "missing":
        return _answer(f"The parameter {shown_value(name)} is missing; give it.", 400)
    message = str(first["msg"])
    what = f"Received {shown_value(name)}: {shown_value(first.get('input'))}"
    return _answer(f"{what}; {message[:1].lower()}{message[1:]}.", 400)


_HANDLERS: Any = {
    Problem: _problem,
    InputError: _bad_input,
    HTTPException: _not_served,
    RequestValidationError: _bad_query,
}


def _describe(app: FastAPI, settings: ServerSettings) -> None:
    """Put the form of errors and the token into the OpenAPI description."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            description = generate()
            parts = description.setdefault("components", {})
            parts.setdefault("schemas", {})["Error"] = {
                "type": "object",
                "required": ["error"],
                "properties": {"error": {"type": "string", "description": "One sentence."}},
            }
            if settings.token is not None:
                parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                description["security"] = [{"token": []}]
            for path in description["paths"].values():
                for operation in path.values():  # Bad input is 400 here, with one sentence.
                    operation.get("responses", {}).pop("422", None)
            for unused in ("HTTPValidationError", "ValidationError"):
                parts["schemas"].pop(unused, None)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
