"""Run a server until it is told to stop."""

import socket
from collections.abc import Callable, Iterable

import uvicorn

from keras_espmedsam.errors import InputError
from keras_espmedsam.serve.access import check_address
from keras_espmedsam.serve.app import create_app
from keras_espmedsam.serve.logs import log_config
from keras_espmedsam.serve.served_model import ServedModel
from keras_espmedsam.serve.settings import ServerSettings

# How much longer than a request stopping may take.
_SECONDS_TO_STOP = 5


def run_server(
    models: Iterable[ServedModel],
    settings: ServerSettings | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    tell: Callable[[str], None] = print,
) -> None:
    """Serve models over HTTP until SIGINT or SIGTERM; every accepted request is answered first.

    Args:
        models: the models.
        settings: the limits and the token; None for the defaults, without a token.
        host: the address to bind to; another one than this machine's own needs a token.
        port: the port; 0 for any free one.
        tell: called with a sentence when the server begins to listen.

    Raises:
        InputError: for models, an address or a port that cannot be used.
    """
    settings = settings or ServerSettings()
    check_address(host, settings.token)
    app = create_app(models, settings)
    config = uvicorn.Config(
        app,
        log_config=log_config(),
        access_log=False,  # Its lines have the query; `Observed` logs requests.
        server_header=False,
        loop="asyncio",
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=int(settings.seconds) + _SECONDS_TO_STOP,
    )
    with listening(host, port) as sock:
        name = f"[{host}]" if ":" in host else host
        tell(f"Listening on http://{name}:{sock.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[sock])


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: the address to bind to.
        port: the port.

    Raises:
        InputError: when the address cannot be bound to.

    Example:
        >>> with listening("127.0.0.1", 0) as sock:
        ...     sock.getsockname()[1] > 0
        True
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "it is no port"
        raise InputError(
            f"The server cannot listen on the host {host} and the port {port}: {reason}. Give "
            "another --port or --host."
        ) from error
