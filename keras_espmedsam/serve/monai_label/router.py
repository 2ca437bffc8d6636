"""All routes of MONAI Label's REST contract."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter

from keras_espmedsam.serve.monai_label.datastore_routes import add_datastore_routes
from keras_espmedsam.serve.monai_label.infer_routes import add_infer_routes
from keras_espmedsam.serve.monai_label.info_routes import add_info_routes
from keras_espmedsam.serve.monai_label.next_image import NextImage
from keras_espmedsam.serve.monai_label.sessions import Sessions
from keras_espmedsam.serve.monai_label.studies import Studies
from keras_espmedsam.serve.service import Service


def monai_label_router(service: Service, studies: Studies | None, version: str) -> APIRouter:
    """Return the routes that MONAI Label's plugins in viewers call.

    Args:
        service: the models and their limits.
        studies: the folder of images, or None for requests with their own images only.
        version: the version of this package.

    Source: MONAI Label 0.8.5, its REST API and its client.
    """
    sessions = Sessions()

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        try:
            yield
        finally:
            sessions.close()
            if studies is not None:
                studies.close()

    next_image = NextImage(service)
    router = APIRouter(tags=["MONAI Label"], lifespan=lifespan)
    add_info_routes(router, service, studies, next_image, version)
    add_infer_routes(router, service, studies, sessions)
    add_datastore_routes(router, service, studies, next_image, sessions)
    return router
