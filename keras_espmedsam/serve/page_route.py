"""The page for people, and what it asks of the server beside `POST /segment`."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from keras_espmedsam.serve.accepted_requests import AcceptedRequest
from keras_espmedsam.serve.image_results import Answer
from keras_espmedsam.serve.page_files import HEADERS, page_files
from keras_espmedsam.serve.page_images import PageQuery, segmented_image, shown_image
from keras_espmedsam.serve.served_model import ServedModel
from keras_espmedsam.serve.service import Service


def page_router(service: Service) -> APIRouter:
    """Return the page at `/`, its files, and its two routes.

    They are not in the OpenAPI description: they change with the page.

    Args:
        service: the models, their queue and the limits.
    """
    router = APIRouter(include_in_schema=False)
    for address, (content, kind) in page_files().items():
        router.add_api_route(address, _file(content, kind), methods=["GET", "HEAD"])

    async def answer(
        request: Request,
        model: ServedModel,
        work: Callable[[Path, AcceptedRequest], Answer],
    ) -> Response:
        found: Answer = await service.answer(request, work)
        request.state.logged = {"model": model.name, "images": found.images}
        return Response(found.content, media_type=found.media_type)

    @router.post("/page/image")
    async def image(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
        model = service.model(query.model)
        return await answer(
            request,
            model,
            lambda path, accepted: shown_image(path, model.segmenter, query, service.settings),
        )

    @router.post("/page/masks")
    async def masks(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
        model = service.model(query.model)
        return await answer(
            request,
            model,
            lambda path, accepted: segmented_image(
                path,
                service.segmenter(model, accepted.deadline),
                service.recognizer(model, accepted.deadline),
                query,
                service.settings,
                model.name,
            ),
        )

    return router


def _file(content: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def file() -> Response:
        return Response(content, headers=HEADERS, media_type=kind)

    return file
