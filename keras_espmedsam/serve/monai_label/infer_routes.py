"""Segment an image of the studies, of a session or of the request, for a viewer."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from keras_espmedsam.errors import InputError
from keras_espmedsam.serve.accepted_requests import AcceptedRequest
from keras_espmedsam.serve.form_data import Part, form_data
from keras_espmedsam.serve.monai_label.annotations import (
    AsapRequest,
    annotations_xml,
    cut_region,
)
from keras_espmedsam.serve.monai_label.forms import Form, parse_json_object, read_form
from keras_espmedsam.serve.monai_label.inference import Inferred, infer_file
from keras_espmedsam.serve.monai_label.label_maps import write_label_map
from keras_espmedsam.serve.monai_label.sessions import Sessions
from keras_espmedsam.serve.monai_label.stored_files import image_suffix
from keras_espmedsam.serve.monai_label.studies import ORIGINAL, Studies, split_name
from keras_espmedsam.serve.problems import Problem
from keras_espmedsam.serve.segment_route import ERRORS
from keras_espmedsam.serve.served_model import ServedModel
from keras_espmedsam.serve.service import Service

_FILE = {"type": "string", "format": "binary"}
_OCTETS = "application/octet-stream"


def form_body(**parts: Any) -> dict[str, Any]:
    """Return the description of a form for OpenAPI.

    Args:
        parts: schemas by name.

    Example:
        >>> list(form_body(params={"type": "string"})["requestBody"]["content"])
        ['multipart/form-data']
    """
    schema = {"type": "object", "properties": parts}
    return {"requestBody": {"content": {"multipart/form-data": {"schema": schema}}}}


PARAMS = {"type": "string", "description": "A JSON object.", "default": "{}"}
"""The field of parameters in a form, for OpenAPI."""
IMAGE = {**_FILE, "description": "The image, of any format that the server reads."}
"""The field of an image in a form, for OpenAPI."""


def add_infer_routes(
    router: APIRouter, service: Service, studies: Studies | None, sessions: Sessions
) -> None:
    """Add the routes `/infer/{model}` and, for QuPath, `/infer/wsi/{model}`.

    Args:
        router: what they are added to.
        service: the models and their limits.
        studies: the folder of images, or None.
        sessions: the images that clients left.
    """

    def source(form: Form, image: str, session: str, accepted: AcceptedRequest) -> Path:
        """Return the image that a request is about."""
        if "file" in form.files:
            path = form.files["file"]
            return path.rename(path.with_name(f"image{image_suffix_of(path)}"))
        if session:
            return _linked(sessions.path(session), accepted.folder)
        if not image:
            raise InputError(
                "Received no image; send it as file=@FILE in a form, or give the query image or "
                "session_id."
            )
        if studies is None:
            raise Problem(404, NO_STUDIES)
        return _linked(studies.image(image).path, accepted.folder)

    def image_suffix_of(path: Path) -> str:
        return image_suffix(path, service.settings.max_pixels)

    def infer(
        path: Path,
        model: ServedModel,
        params: dict[str, Any],
        accepted: AcceptedRequest,
        outlines: bool = False,
    ) -> Inferred:
        return infer_file(
            path,
            model,
            service.segmenter(model, accepted.deadline),
            service.recognizer(model, accepted.deadline),
            params,
            service.settings,
            accepted.folder if outlines else None,
        )

    async def answered(
        request: Request, model: ServedModel, work: Callable[[Path, AcceptedRequest], Any]
    ) -> Response:
        inferred, response = await service.answer(request, work, may_be_empty=True)
        images = len(inferred.label_map.slices)
        request.state.logged = {"model": model.name, "images": images}
        return response

    @router.post(
        "/infer/{name}",
        summary="A label map of an image",
        response_class=Response,
        responses={
            200: {
                "description": "A form with params (JSON) and image (the label map), or one of "
                "them.",
                "content": {
                    "multipart/form-data": {
                        "schema": {
                            "type": "object",
                            "properties": {"params": {"type": "string"}, "image": _FILE},
                        }
                    },
                    "application/json": {"schema": {"type": "object"}},
                    "image/png": {"schema": _FILE},
                    _OCTETS: {"schema": _FILE},
                },
            },
            **ERRORS,
        },
        openapi_extra=form_body(params=PARAMS, file=IMAGE),
    )
    async def infer_route(
        request: Request,
        name: str,
        image: str = "",
        session_id: str = "",
        output: Literal["all", "image", "json"] = "all",
    ) -> Response:
        """As params, modality, target and threshold count, and result_extension; others do not."""
        model = service.model(name)
        kind = request.headers.get("content-type", "")

        def work(path: Path, accepted: AcceptedRequest) -> tuple[Inferred, Response]:
            form = read_form(path, kind, accepted.folder)
            if "label" in form.files:
                raise InputError("Received a label to start from; the models take images only.")
            params = form.json("params")
            inferred = infer(source(form, image, session_id, accepted), model, params, accepted)
            written = write_label_map(inferred.label_map, accepted.folder, inferred.extension)
            stored = studies is not None and not form.files and not session_id
            if params.get("save_label") is True and stored:
                assert studies is not None
                studies.save_label(image, ORIGINAL, written, {"params": inferred.params})
            return inferred, _result(inferred, written, output)

        return await answered(request, model, work)

    @router.post(
        "/infer/wsi_v2/{name}",
        summary="The outlines in an image, as ASAP's annotations (XML), for QuPath",
        response_class=Response,
        responses={
            200: {
                "description": "XML or JSON.",
                "content": {
                    "text/xml": {"schema": {"type": "string"}},
                    "application/json": {"schema": {"type": "object"}},
                },
            },
            **ERRORS,
        },
        openapi_extra=form_body(
            wsi={**PARAMS, "description": "location, size, params"}, file=IMAGE
        ),
    )
    @router.post("/infer/wsi/{name}", include_in_schema=False)
    async def outlines_route(
        request: Request,
        name: str,
        image: str = "",
        session_id: str = "",
        output: Literal["asap", "json"] = "asap",
    ) -> Response:
        model = service.model(name)
        kind = request.headers.get("content-type", "")

        def work(path: Path, accepted: AcceptedRequest) -> tuple[Inferred, Response]:
            if kind.startswith("application/json"):
                content, form = parse_json_object(path.read_bytes() or b"{}", "the body"), Form()
            else:
                form = read_form(path, kind, accepted.folder)
                content = form.json("wsi")
            asked = AsapRequest.of(content)
            found = source(form, image, session_id, accepted)
            if asked.has_region:
                found = cut_region(found, asked, accepted.folder, service.settings.max_pixels)
            inferred = infer(found, model, asked.params, accepted, outlines=True)
            if output == "json":
                return inferred, JSONResponse(inferred.params)
            xml = annotations_xml(inferred, asked)
            return inferred, Response(xml, media_type="text/xml")

        return await answered(request, model, work)


NO_STUDIES = "The server has no studies; start it with --studies FOLDER."
"""Said where an image of the studies is needed."""


def _linked(path: Path, folder: Path) -> Path:
    """Return another name for a file, so that no message has its own."""
    link = folder / f"image{split_name(path.name)[1]}"
    try:
        link.symlink_to(path)
    except OSError:  # Windows allows it to few.
        shutil.copyfile(path, link)
    return link


def _result(inferred: Inferred, path: Path, output: str) -> Response:
    if output == "json":
        return JSONResponse(inferred.params)
    content = path.read_bytes()
    kind = "image/png" if path.suffix == ".png" else _OCTETS
    if output == "image":
        headers = {"Content-Disposition": f'attachment; filename="{path.name}"'}
        return Response(content, media_type=kind, headers=headers)
    params = json.dumps(inferred.params, allow_nan=False).encode()
    body, content_type = form_data(
        {"params": Part(params, "application/json"), "image": Part(content, kind, path.name)}
    )
    return Response(body, headers={"Content-Type": content_type})
