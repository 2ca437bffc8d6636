"""Plain HTTP: an image in, its mask and areas out."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from keras_espmedsam.serve.image_results import Answer, segment_upload
from keras_espmedsam.serve.problems import Problem
from keras_espmedsam.serve.segment_query import SegmentQuery
from keras_espmedsam.serve.service import Service

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "required": True,
    "description": "The file itself: PNG, JPEG, TIFF, BMP, GIF, PPM, WebP, DICOM or NIfTI. The "
    "content decides about its type.",
    "content": {"application/octet-stream": _BINARY, "image/*": _BINARY},
}
_EXAMPLE = {
    "model": "espmedsam_nano_256",
    "images": [
        {
            "number": 1,
            "width": 768,
            "height": 584,
            "modality": "dermoscopy",
            "confidence": 0.998,
            "blank": False,
            "in_scope": True,
            "scope_score": 0.12,
            "notices": [],
            "targets": [
                {
                    "target": "lesion",
                    "objects": 1,
                    "area_pixels": 104211,
                    "area_share": 0.2324,
                    "area_mm2": None,
                    "mean_area_pixels": 104211.0,
                    "median_area_pixels": 104211.0,
                    "mean_area_mm2": None,
                    "median_area_mm2": None,
                    "predicted_dice": None,
                }
            ],
        }
    ],
}


def error_example(sentence: str) -> dict[str, Any]:
    """Return the description of an error for OpenAPI.

    Args:
        sentence: an example of its message.

    Example:
        >>> error_example("The image is empty.")["description"]
        'The image is empty.'
    """
    content = {"schema": {"$ref": "#/components/schemas/Error"}, "example": {"error": sentence}}
    return {"description": sentence, "content": {"application/json": content}}


ERRORS: dict[int | str, dict[str, Any]] = {
    400: error_example("Received the modality 'eye'; expected one of xray, fundus."),
    401: error_example("The token is missing or wrong."),
    404: error_example("There is no model 'nano'."),
    408: error_example("Only 12 bytes of the body came in the time that a request may take."),
    413: error_example("The body of the request has more bytes than the limit of this server."),
    415: error_example("Received a form; send the image itself as the body."),
    429: error_example("The server is busy with as many requests as it accepts; try again in 2 s."),
    503: error_example("The request took longer than 60 s and was given up."),
}


def segment_router(service: Service) -> APIRouter:
    """Return the routes `GET /models` and `POST /segment`.

    Args:
        service: the models, their queue and the limits.
    """
    router = APIRouter(tags=["plain HTTP"])

    @router.get("/models", summary="The models and what they find")
    async def models() -> list[dict[str, Any]]:
        return [
            {
                "name": one.name,
                "modalities": list(one.modalities),
                "recognizes_modalities": one.recognizer is not None,
                "targets": one.targets,
                "guarantees": getattr(one.segmenter, "guarantees", None) or {},
                "predicts_quality": getattr(one.segmenter, "quality", None) or {},
            }
            for one in service.models.values()
        ]

    @router.post(
        "/segment",
        summary="Segment an image",
        response_class=Response,
        responses={
            200: {
                "description": "JSON, a PNG or NIfTI mask, a DICOM Segmentation, or a ZIP archive.",
                "content": {
                    "application/json": {"example": _EXAMPLE},
                    "image/png": _BINARY,
                    "application/octet-stream": _BINARY,
                    "application/dicom": _BINARY,
                    "application/zip": _BINARY,
                },
            },
            **ERRORS,
        },
        openapi_extra={"requestBody": _BODY},
    )
    async def segment(request: Request, query: Annotated[SegmentQuery, Query()]) -> Response:
        """Send the file as the body: `curl --data-binary @eye.png ADDRESS/segment?output=png`."""
        kind = request.headers.get("content-type", "")
        if kind.startswith("multipart/"):
            raise Problem(
                415,
                "Received a form; send the image itself as the body, as with: curl --data-binary "
                "@FILE",
            )
        model = service.model(query.model)
        answer: Answer = await service.answer(
            request,
            lambda path, accepted: segment_upload(
                path,
                service.segmenter(model, accepted.deadline),
                service.recognizer(model, accepted.deadline),
                query,
                service.settings,
                model.name,
                model.source,
            ),
        )
        request.state.logged = {"model": model.name, "images": answer.images}
        return Response(answer.content, media_type=answer.media_type)

    return router
