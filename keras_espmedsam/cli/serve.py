"""`espmedsam serve`: models over HTTP."""

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_espmedsam import serve as server
from keras_espmedsam.cli.compile_cache import CompileCache, keep_compiled
from keras_espmedsam.cli.console import PRECISION_OPTION, errors_reported, stderr
from keras_espmedsam.cli.loading import (
    DEFAULT_PRESET,
    TRUST_OPTION,
    load_recognizer,
    load_segmenter,
)
from keras_espmedsam.cli.token_file import read_token
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.load_models import check_name as check_preset
from keras_espmedsam.inference.load_models import is_artefact, stored_targets
from keras_espmedsam.inference.recognition import DEFAULT_RECOGNIZER

TOKEN_VARIABLE = "ESPMEDSAM_TOKEN"
"""The environment variable that holds the token, for containers."""

_NAMED = re.compile(r"([A-Za-z0-9_.@-]+)=(.+)", re.DOTALL)
_DEFAULTS = server.ServerSettings()


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL|NAME=MODEL]...",
            help="Presets or exported models, such as espmedsam_nano_256, ./my_preset or "
            f"eye=models/eye.onnx. Default: {DEFAULT_PRESET}.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on; others than 127.0.0.1 need a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port to listen on; 0 for any free one.")
    ] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A file with the token that clients have to send (Authorization: Bearer TOKEN). "
            f"Or set the environment variable {TOKEN_VARIABLE}.",
            show_default=False,
        ),
    ] = None,
    recognizer: Annotated[
        str | None,
        typer.Option(
            metavar="PRESET",
            help="The preset that recognises the modality where none is given. Default: "
            f"{DEFAULT_RECOGNIZER}, for models of which it knows a modality.",
            show_default=False,
        ),
    ] = None,
    studies: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Images that viewers (3D Slicer, QuPath) label through MONAI Label's plugins. "
            "Labels are written to the folder labels within it; images are never changed.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images per model call, of one request or several.")
    ] = _DEFAULTS.batch_size,
    batch_wait: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", help="How long an image waits for others to share a call."
        ),
    ] = _DEFAULTS.batch_wait,
    queue: Annotated[
        int, typer.Option(min=1, help="Requests accepted at a time; more are told to come again.")
    ] = _DEFAULTS.queue_size,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="The time that a request may take.")
    ] = _DEFAULTS.seconds,
    max_bytes: Annotated[
        int, typer.Option(min=1, help="Maximum bytes of a request.")
    ] = _DEFAULTS.max_bytes,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Maximum pixels (width x height) of one image.")
    ] = _DEFAULTS.max_pixels,
    precision: Annotated[str | None, PRECISION_OPTION] = None,
    trust: Annotated[bool, TRUST_OPTION] = False,
    compile_cache: CompileCache = None,
) -> None:
    """Serve models over HTTP: send an image, get its mask.

    Needs the extra "serve". What it offers is described at /openapi.json: POST /segment for images
    of any supported format, the Open Inference Protocol (KServe v2) for tensors, what MONAI Label's
    plugins in viewers call, /metrics for Prometheus, /health.

    Open the address in a browser to see, correct and save masks by hand.

    The server runs until Ctrl-C or SIGTERM, and answers every accepted request first. It logs one
    line of JSON per request on stderr, without names, headers or pixels.

    Exit code: 2, wrong usage; 130 or 143, stopped.

    \b
    Examples:
      espmedsam serve
      curl --data-binary @eye.png "http://127.0.0.1:8000/segment?modality=fundus"
      espmedsam serve espmedsam_nano_256 eye=models/eye.onnx --port 9000
      espmedsam serve --studies images
      espmedsam serve --host 0.0.0.0 --token-file token.txt
    """
    with errors_reported(lambda: "every accepted request was answered."):
        settings = server.ServerSettings(
            token=read_token(token_file, TOKEN_VARIABLE),
            batch_size=batch_size,
            batch_wait=batch_wait,
            queue_size=queue,
            seconds=seconds,
            max_bytes=max_bytes,
            max_pixels=max_pixels,
            studies=studies,
        )
        run = server.run_server  # Says which library is missing, before models are loaded.
        from keras_espmedsam.serve.access import check_address

        check_address(host, settings.token)
        named = dict(map(_named, models or [DEFAULT_PRESET]))
        if len(named) < len(models or [DEFAULT_PRESET]):
            raise InputError(
                "Received two models of the same name; name one of them yourself: NAME=MODEL."
            )
        for one in named.values():
            check_preset(one, precision)
        keep_compiled(compile_cache)
        classifier = None
        loaded = []
        for name, model in named.items():
            known = stored_targets(model)
            segmenter: Any = load_segmenter(model, precision, trust)
            several = len(segmenter.modalities if known is None else known.modalities) > 1
            if several and classifier is None:
                classifier = load_recognizer(recognizer or DEFAULT_RECOGNIZER)
            recognizes = several and _recognizes(classifier, segmenter, name, recognizer)
            judge = classifier if recognizes else None
            loaded.append(server.ServedModel(name, segmenter, judge, model))
        run(loaded, settings, host, port, stderr().print)


def _recognizes(classifier: Any, segmenter: Any, name: str, given: str | None) -> bool:
    """Return whether a recogniser can be used, unless it was asked for and cannot."""
    if given is None and not set(classifier.class_names) & set(segmenter.modalities):
        stderr().print(
            f"{name} has modalities that {DEFAULT_RECOGNIZER} does not know; its requests have to "
            "give the modality."
        )
        return False
    return True


def _named(model: str) -> tuple[str, str]:
    """Return the name of a model and the model."""
    found = None if os.path.exists(model) else _NAMED.fullmatch(model)
    if found:
        return found[1], found[2]
    path = Path(model)
    name = path.stem if is_artefact(model) else path.name or path.absolute().name
    return re.sub(r"[^A-Za-z0-9_.@-]", "_", name), model
