"""Who may use a server: those with its token or, without one, programs of this machine."""

import ipaddress
import secrets

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from keras_espmedsam.errors import InputError
from keras_espmedsam.serve.page_files import page_files

OPEN = ("/health", "/v2/health/live", "/v2/health/ready")
"""Addresses that need no token, for those who watch whether the server is alive."""

SIGN_IN = ("/auth/", "/auth/token")
"""Addresses where a viewer asks whether there is a token, and gives it as a password."""

_PAGE = frozenset(page_files())  # It asks for the token itself, and holds nothing of anyone's.


class Guarded:
    """Lets a request through that has the token.

    Without a token, the header `Host` has to name this machine. Otherwise a web page that a user
    visits could reach the server under the page's own name, which then stands for 127.0.0.1 (DNS
    rebinding), and read its answers.

    Args:
        app: the ASGI application.
        token: the token; None for none.
    """

    def __init__(self, app: ASGIApp, token: str | None):
        self.app = app
        self._expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and scope["path"] not in OPEN:
            headers = Headers(scope=scope)
            refusal = None
            if self._expected is None:
                if not is_loopback(_host_name(headers.get("host", ""))):
                    refusal = JSONResponse(
                        {
                            "error": "This server has no token and answers requests to 127.0.0.1 "
                            "and localhost only; use such an address, or start it with "
                            "--token-file."
                        },
                        403,
                    )
            elif scope["path"] not in (*_PAGE, *SIGN_IN):
                given = headers.get("authorization", "").encode("latin-1")
                if not secrets.compare_digest(given, self._expected):
                    refusal = JSONResponse(
                        {
                            "error": "The token is missing or wrong; send it in the header "
                            "Authorization: Bearer TOKEN."
                        },
                        401,
                        {"WWW-Authenticate": "Bearer"},
                    )
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)


def check_address(host: str, token: str | None) -> None:
    """Check that a server without a token is reached from its own machine only.

    Args:
        host: the address that it binds to.
        token: the token; None for none.

    Raises:
        InputError: when it would be open to others.

    Example:
        >>> check_address("127.0.0.1", None)
        >>> check_address("0.0.0.0", "0123456789abcdef")
    """
    if token is None and not is_loopback(host):
        raise InputError(
            f"Received the host {host} without a token, so that anyone in the network could use "
            "the server; give --token-file, or --host 127.0.0.1 for this machine only."
        )


def is_loopback(host: str) -> bool:
    """Return whether a name or address is that of this machine, for this machine only.

    Example:
        >>> [is_loopback(one) for one in ("localhost", "::1", "127.0.0.1", "0.0.0.0", "a.org")]
        [True, True, True, False, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(header):
    """Return the name in a `Host` header, which may have a port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]
