"""The body of a request, kept in a file, within limits of size and time."""

import asyncio
import time
from pathlib import Path

from starlette.requests import ClientDisconnect, Request

from keras_espmedsam.serve.problems import Problem


async def save_body(
    request: Request, path: Path, max_bytes: int, deadline: float, may_be_empty: bool = False
) -> int:
    """Write the body of a request to a file.

    Args:
        request: the request.
        path: the file.
        max_bytes: the most bytes.
        deadline: `time.monotonic()` until which the body has to be complete.
        may_be_empty: whether it may have no bytes.

    Returns:
        The number of bytes.

    Raises:
        Problem: for a body that is empty, too large, too slow, cut or compressed.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise Problem(
            415,
            "Received a compressed body (Content-Encoding); send the image or the tensors as they "
            "are.",
        )
    _check_length(request, max_bytes)
    size = 0
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            with path.open("wb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > max_bytes:
                        raise _too_large(max_bytes)
                    file.write(chunk)
    except TimeoutError:
        raise Problem(
            408,
            f"Only {size:,} bytes of the body came in the time that a request may take; send a "
            "smaller image, or use a faster connection.",
        ) from None
    except ClientDisconnect:
        raise Problem(400, "The connection ended before the body was complete.") from None
    if not size and not may_be_empty:
        raise Problem(
            400,
            "The body of the request is empty; send the image itself, as with: curl --data-binary "
            "@FILE",
        )
    return size


async def discard_body(request: Request, max_bytes: int, seconds: float) -> None:
    """Read a body and drop it, so that the client reads the answer to a request that is rejected.

    Most clients do not read before they have sent everything. A body that is too large or too slow
    is not read to its end.

    Args:
        request: the request.
        max_bytes: the most bytes.
        seconds: the most seconds.
    """
    size = 0
    try:
        _check_length(request, max_bytes)
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    return
    except (TimeoutError, ClientDisconnect, Problem):
        return


def _check_length(request, max_bytes):
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated[:20]) > max_bytes:
        raise _too_large(max_bytes)


def _too_large(max_bytes):
    return Problem(
        413,
        f"The body of the request has more than {max_bytes:,} bytes, the limit of this server; "
        "send a smaller image, or have --max-bytes of the server raised.",
    )
