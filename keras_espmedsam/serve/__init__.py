"""Serve segmenters over HTTP: `espmedsam serve`, or an ASGI application of your own.

Importing this package imports neither Keras nor the libraries of the extra `serve`.
"""

import importlib
from typing import TYPE_CHECKING

from keras_espmedsam._startup import require

if TYPE_CHECKING:
    from keras_espmedsam.serve.app import create_app as create_app
    from keras_espmedsam.serve.served_model import ServedModel as ServedModel
    from keras_espmedsam.serve.server import run_server as run_server
    from keras_espmedsam.serve.settings import ServerSettings as ServerSettings

_PLACES = {
    "ServedModel": "served_model",
    "ServerSettings": "settings",
    "create_app": "app",
    "run_server": "server",
}

__all__ = ["ServedModel", "ServerSettings", "create_app", "run_server"]


# Hidden from type checkers, so that they still report unknown names.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name in ("create_app", "run_server"):
            for library in ("fastapi", "uvicorn", "prometheus_client", "python_multipart"):
                require(library, "Serving models", "serve")
        return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__():
    return sorted(__all__)
