"""What MONAI Label's plugins ask first: what there is, who may come in, whether it trains."""

import secrets
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response

from keras_espmedsam.inference.recognition import AUTO
from keras_espmedsam.serve.monai_label.inference import ALL
from keras_espmedsam.serve.monai_label.label_maps import target_numbers
from keras_espmedsam.serve.monai_label.next_image import NextImage
from keras_espmedsam.serve.monai_label.studies import FINAL, Studies
from keras_espmedsam.serve.problems import Problem
from keras_espmedsam.serve.segment_route import ERRORS
from keras_espmedsam.serve.served_model import ServedModel
from keras_espmedsam.serve.service import Service

_LOGIN_BYTES = 4096
_TRAINS_NOT = "This server does not train; see espmedsam train and espmedsam add-modality."


def add_info_routes(
    router: APIRouter,
    service: Service,
    studies: Studies | None,
    next_image: NextImage,
    version: str,
) -> None:
    """Add the routes `/info/`, `/auth/` and `/train/`.

    Args:
        router: what they are added to.
        service: the models and their limits.
        studies: the folder of images, or None.
        next_image: what chooses the next image.
        version: the version of this package.
    """

    @router.get("/info/", summary="Models, labels, strategies and images")
    def info() -> dict[str, Any]:
        models = {one.name: _described(one) for one in service.models.values()}
        labels = dict.fromkeys(name for one in models.values() for name in one["labels"])
        return {
            "name": "keras-espmedsam",
            "description": "Segments medical images. For research use only; not a medical device.",
            "version": version,
            # The plugin for OHIF takes the first one for the background.
            "labels": ["background", *labels],
            "models": models,
            "trainers": {},
            "strategies": next_image.strategies if studies is not None else {},
            "scoring": {},
            "train_stats": {},
            "datastore": image_counts(studies),
        }

    @router.get("/auth/", summary="Whether the server has a token")
    async def auth() -> dict[str, Any]:
        return {"enabled": service.settings.token is not None, "client_id": "", "realm": ""}

    @router.post(
        "/auth/token",
        summary="The token, for viewers that ask for a name and a password",
        responses=some(400, 401, 413),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/x-www-form-urlencoded": {
                        "schema": {
                            "type": "object",
                            "required": ["password"],
                            "properties": {
                                "username": {"type": "string", "description": "Not used."},
                                "password": {"type": "string", "description": "The token."},
                            },
                        }
                    }
                },
            }
        },
    )
    async def token(request: Request) -> dict[str, str | None]:
        expected = service.settings.token
        if expected is None:
            return {"access_token": None, "token_type": None}
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or int(length[:9]) > _LOGIN_BYTES:
            raise Problem(413, f"Expected a form of up to {_LOGIN_BYTES:,} bytes with a password.")
        given = parse_qs((await request.body()).decode("latin-1")).get("password", [""])[0]
        if not secrets.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
            raise Problem(401, "The password is wrong; it is the server's token.")
        return {"access_token": expected, "token_type": "Bearer"}

    @router.get("/auth/token/valid", summary="Whether the sent token is valid")
    async def valid() -> dict[str, Any]:
        return {"username": "user", "roles": []}  # Otherwise the request would not come here.

    # A plugin takes any other status than 200 for no training that runs.
    @router.get("/train/", summary="Not offered", responses=some(404))
    @router.post("/train/", include_in_schema=False)
    @router.delete("/train/", include_in_schema=False)
    @router.post("/train/{model}", include_in_schema=False)
    async def train(model: str = "") -> Response:
        raise Problem(404, _TRAINS_NOT)


def _described(model: ServedModel) -> dict[str, Any]:
    numbers = target_numbers(model.target_set)
    modalities = list(model.modalities)
    if len(modalities) > 1:
        modalities = [AUTO if model.recognizer is not None else "", *modalities]
    return {
        "type": "segmentation",
        "labels": numbers,
        "dimension": 2,
        "description": f"Segments {', '.join(model.modalities)}",
        # A plugin shows these to be changed, and takes the first of a list if they are not.
        "config": {"modality": modalities, "target": [ALL, *numbers], "threshold": 0.5},
    }


def image_counts(studies: Studies | None) -> dict[str, Any]:
    """Return how many images there are, and how many have labels.

    Args:
        studies: the folder of images, or None.
    """
    images = [] if studies is None else list(studies.images().values())
    tags: dict[str, int] = {}
    for one in images:
        for tag in one.labels:
            tags[tag] = tags.get(tag, 0) + 1
    return {"total": len(images), "completed": tags.get(FINAL, 0), "label_tags": tags}


def some(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of some errors, for OpenAPI."""
    return {one: ERRORS[one] for one in statuses}
