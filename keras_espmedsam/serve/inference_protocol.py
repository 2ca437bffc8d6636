"""The Open Inference Protocol (KServe v2) over REST."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from keras_espmedsam.serve.accepted_requests import AcceptedRequest
from keras_espmedsam.serve.problems import Problem
from keras_espmedsam.serve.segment_route import ERRORS
from keras_espmedsam.serve.served_model import ServedModel
from keras_espmedsam.serve.service import Service
from keras_espmedsam.serve.tensor_inference import infer, model_metadata
from keras_espmedsam.serve.tensors import read_request, write_answer

_JSON_LENGTH = "Inference-Header-Content-Length"
_VERSION = "1"
_TENSOR = {"name": "images", "shape": [1, 2, 2], "datatype": "UINT8", "data": [0, 9, 200, 255]}
_BODY = {
    "required": True,
    "description": f"JSON; with the header {_JSON_LENGTH}, the bytes of tensors follow it.",
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["inputs"]},
            "example": {
                "inputs": [
                    _TENSOR,
                    {"name": "modalities", "shape": [1], "datatype": "BYTES", "data": ["fundus"]},
                ],
                "parameters": {"threshold": 0.5, "target": "vessels"},
            },
        }
    },
}


def protocol_router(service: Service, version: str) -> APIRouter:
    """Return the routes below `/v2`.

    Args:
        service: the models, their queue and the limits.
        version: the version of this package.

    Source: Open Inference Protocol, REST: health, server and model metadata, inference; Triton's
    extension for binary tensor data.
    """
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    @router.get("", summary="Metadata of the server")
    async def server() -> dict[str, Any]:
        return {
            "name": "keras-espmedsam",
            "version": version,
            "extensions": ["binary_tensor_data"],
        }

    @router.get("/health/live", summary="Whether the server is alive")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/health/ready", summary="Whether all models can be used")
    async def ready(response: Response) -> dict[str, bool]:
        response.status_code = 200 if service.ready else 503
        return {"ready": service.ready}

    def found(name: str, version: str) -> ServedModel:
        if version != _VERSION:
            raise Problem(404, f"The model has the version {_VERSION} only; leave the version out.")
        return service.model(name)

    @router.get("/models/{name}", summary="Metadata of a model", responses=_some(404))
    @router.get("/models/{name}/versions/{version}", include_in_schema=False)
    async def metadata(name: str, version: str = _VERSION) -> dict[str, Any]:
        return model_metadata(found(name, version))

    @router.get("/models/{name}/ready", summary="Whether a model can be used", responses=_some(404))
    @router.get("/models/{name}/versions/{version}/ready", include_in_schema=False)
    async def model_ready(response: Response, name: str, version: str = _VERSION) -> dict[str, Any]:
        model = found(name, version)
        response.status_code = 200 if service.ready else 503
        return {"name": model.name, "ready": service.ready}

    @router.post(
        "/models/{name}/infer",
        summary="Segment the images of a tensor",
        response_class=Response,
        responses={
            200: {"description": "JSON, perhaps with the bytes of tensors after it."},
            **ERRORS,
        },
        openapi_extra={"requestBody": _BODY},
    )
    @router.post("/models/{name}/versions/{version}/infer", include_in_schema=False)
    async def infer_route(request: Request, name: str, version: str = _VERSION) -> Response:
        model = found(name, version)
        length = request.headers.get(_JSON_LENGTH)

        def work(path: Path, accepted: AcceptedRequest) -> tuple[bytes, int | None, int]:
            asked = read_request(path.read_bytes(), length)
            outputs = infer(
                asked,
                service.segmenter(model, accepted.deadline),
                service.recognizer(model, accepted.deadline),
                service.settings,
            )
            content = {"model_name": model.name, "model_version": _VERSION}
            return (*write_answer(content, outputs, asked), len(outputs["masks"]))

        body, json_length, images = await service.answer(request, work)
        request.state.logged = {"model": model.name, "images": images}
        if json_length is None:
            return Response(body, media_type="application/json")
        headers = {_JSON_LENGTH: str(json_length)}
        return Response(body, headers=headers, media_type="application/octet-stream")

    return router


def _some(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {one: ERRORS[one] for one in statuses}
