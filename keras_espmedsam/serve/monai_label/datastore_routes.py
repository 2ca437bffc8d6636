"""The images of the studies and their labels, the next image to label, and sessions."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.serve.accepted_requests import AcceptedRequest
from keras_espmedsam.serve.monai_label.forms import Form, parse_json_object, read_form
from keras_espmedsam.serve.monai_label.infer_routes import IMAGE, NO_STUDIES, PARAMS, form_body
from keras_espmedsam.serve.monai_label.info_routes import image_counts, some
from keras_espmedsam.serve.monai_label.next_image import NextImage
from keras_espmedsam.serve.monai_label.sessions import Sessions
from keras_espmedsam.serve.monai_label.stored_files import image_suffix
from keras_espmedsam.serve.monai_label.studies import (
    FINAL,
    LABELS,
    StoredFile,
    Studies,
    plain_name,
)
from keras_espmedsam.serve.problems import Problem
from keras_espmedsam.serve.segment_route import ERRORS
from keras_espmedsam.serve.service import Service

_LABEL = {
    "type": "string",
    "format": "binary",
    "description": "The label: an image (NIfTI, PNG, TIFF), NRRD, or ASAP's annotations (XML).",
}


def add_datastore_routes(
    router: APIRouter,
    service: Service,
    studies: Studies | None,
    next_image: NextImage,
    sessions: Sessions,
) -> None:
    """Add the routes `/datastore/`, `/activelearning/` and `/session/`.

    Args:
        router: what they are added to.
        service: the models and their limits.
        studies: the folder of images, or None.
        next_image: what chooses the next image.
        sessions: the images that clients leave.
    """

    def there() -> Studies:
        if studies is None:
            raise Problem(404, NO_STUDIES)
        return studies

    async def with_form(request: Request, work: Callable[[Form], Any]) -> Any:
        """Call a function with the form in the body, in a thread."""
        kind = request.headers.get("content-type", "")

        def run(path: Path, accepted: AcceptedRequest) -> Any:
            return work(read_form(path, kind, accepted.folder))

        return await service.answer(request, run)

    @router.get("/datastore/", summary="The images and their labels")
    def datastore(output: Literal["all", "stats", "train"] = "stats") -> Any:
        if output == "stats":
            return image_counts(studies)
        images = {} if studies is None else studies.images()
        if output == "train":
            labelled = (id for id, one in images.items() if FINAL in one.labels)
            return [{"image": id, "label": id} for id in labelled]
        objects = {
            id: {
                "image": _described(one),
                "labels": {tag: _described(label) for tag, label in one.labels.items()},
            }
            for id, one in images.items()
        }
        return {
            "name": "studies",
            "description": "Images and their labels",
            "images_dir": "",
            "labels_dir": LABELS,
            "objects": objects,
        }

    @router.get(
        "/datastore/image",
        summary="An image",
        response_class=FileResponse,
        responses=some(400, 401, 404),
    )
    def image(image: str) -> FileResponse:
        found = there().image(image)
        return _file(found, found.id)

    @router.head(
        "/datastore/image",
        summary="Whether an image is there",
        response_class=Response,
        responses=some(400, 404),
    )
    def has_image(image: str, check_sum: str = "") -> Response:
        _check_sum(there().image(image).path, check_sum)
        return Response()

    @router.put(
        "/datastore/image",
        summary="Add an image",
        responses={**ERRORS, 409: ERRORS[400]},
        openapi_extra=form_body(file=IMAGE, params=PARAMS),
    )
    @router.put("/datastore/", include_in_schema=False)
    async def add_image(request: Request, image: str = "") -> dict[str, Any]:
        target = there()

        def work(form: Form) -> str:
            return target.add_image(image, _part(form, "file"), form.json("params"))

        return {"image": await with_form(request, work)}

    @router.get(
        "/datastore/image/info", summary="What is kept about an image", responses=some(400, 404)
    )
    def image_info(image: str) -> dict[str, Any]:
        found = there().image(image)
        return {**found.info, "name": found.name}

    @router.put(
        "/datastore/image/info",
        summary="Keep something about an image",
        responses=some(400, 404),
        openapi_extra=form_body(info=PARAMS),
    )
    async def put_image_info(request: Request, image: str) -> dict[str, Any]:
        target = there()
        await with_form(request, lambda form: target.update_info(image, None, form.json("info")))
        return {}

    @router.get(
        "/datastore/label",
        summary="The label of an image",
        response_class=FileResponse,
        responses=some(400, 401, 404),
    )
    def label(label: str, tag: str = FINAL) -> FileResponse:
        return _file(there().label(label, tag), label)

    @router.head(
        "/datastore/label",
        summary="Whether a label is there",
        response_class=Response,
        responses=some(400, 404),
    )
    def has_label(image: str, tag: str = FINAL) -> Response:
        there().label(image, tag)
        return Response()

    @router.put(
        "/datastore/label",
        summary="Save the label of an image",
        responses=ERRORS,
        openapi_extra=form_body(label=_LABEL, params=PARAMS),
    )
    async def save_label(request: Request, image: str, tag: str = FINAL) -> dict[str, Any]:
        target = there()

        def work(form: Form) -> None:
            target.save_label(image, tag or FINAL, _part(form, "label"), form.json("params"))

        await with_form(request, work)
        return {"image": image, "label": image}

    @router.get(
        "/datastore/label/info", summary="What is kept about a label", responses=some(400, 404)
    )
    def label_info(label: str, tag: str = FINAL) -> dict[str, Any]:
        return there().label(label, tag).info

    @router.put(
        "/datastore/label/info",
        summary="Keep something about a label",
        responses=some(400, 404),
        openapi_extra=form_body(info=PARAMS),
    )
    @router.put("/datastore/updatelabelinfo", include_in_schema=False)
    async def put_label_info(request: Request, label: str, tag: str = FINAL) -> dict[str, Any]:
        target = there()

        def work(form: Form) -> None:
            info = form.json("info" if "info" in form.fields else "params")
            target.update_info(label, tag, info)

        await with_form(request, work)
        return {}

    @router.post(
        "/activelearning/{strategy}",
        summary="The next image to label",
        responses=some(400, 404, 429, 503),
        openapi_extra={
            "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}
        },
    )
    async def next_sample(request: Request, strategy: str) -> dict[str, Any]:
        """Of the images without a final label; an empty object if there is none."""
        target = there()

        def work(path: Path, accepted: AcceptedRequest) -> Any:
            params = parse_json_object(path.read_bytes() or b"{}", "the body")
            images = target.images().values()
            return next_image.choose(strategy, images, params, accepted.deadline)

        chosen = await service.answer(request, work, may_be_empty=True)
        if chosen is None:
            return {}
        image, why = chosen
        # Not what clients said about it: a plugin opens a path in it on its own machine.
        return {**why, "id": image.id, "name": image.name}

    @router.put(
        "/session/",
        summary="Leave an image for an hour, to segment it",
        responses=ERRORS,
        openapi_extra=form_body(files=IMAGE),
    )
    async def create_session(request: Request, expiry: int = 0) -> dict[str, Any]:
        def work(form: Form) -> str:
            path = _part(form, "files")
            if len(form.files) > 1:
                raise InputError("Received several files; send one image per session.")
            return sessions.add(path, image_suffix(path, service.settings.max_pixels), expiry)

        id = await with_form(request, work)
        return {"session_id": id, "session_info": sessions.info(id)}

    @router.get("/session/{session_id}", summary="A session", responses=some(404))
    async def session(session_id: str) -> dict[str, Any]:
        return sessions.info(session_id)

    @router.delete("/session/{session_id}", summary="Remove a session", responses=some(404))
    async def remove_session(session_id: str) -> dict[str, Any]:
        info = sessions.info(session_id)
        sessions.remove(session_id)
        return info


def _described(stored: StoredFile) -> dict[str, Any]:
    return {"ext": stored.suffix, "info": stored.info}


def _file(stored: StoredFile, id: str) -> FileResponse:
    # Under the id: the file's own name may tell who it is of.
    return FileResponse(
        stored.path,
        media_type="application/octet-stream",
        filename=f"{plain_name(id)}{stored.suffix}",
    )


def _part(form: Form, name: str) -> Path:
    if name not in form.files:
        raise InputError(f"Received a form without a file {name}; send it as {name}=@FILE.")
    return form.files[name]


def _check_sum(path: Path, expected: str) -> None:
    """Compare a checksum, as MONAI Label writes it: `SHA256:` and the digits, or these alone."""
    if not expected:
        return
    name, _, digits = expected.rpartition(":")
    algorithm = (name or "SHA256").lower()
    if algorithm not in ("md5", "sha256", "sha512"):
        raise InputError(
            f"Received the checksum {shown_value(expected)}; expected MD5, SHA256 or SHA512, a "
            "colon and the digits."
        )
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != digits.lower():
        raise Problem(404, "The image is there, but has another checksum.")
