"""An answer of several parts, which browsers and HTTP clients read as a form."""

import secrets
from collections.abc import Mapping
from typing import NamedTuple


class Part(NamedTuple):
    """A part of a form.

    Args:
        content: its bytes.
        media_type: their type.
        file_name: a name without quotes, which makes it a file; None for a field, which clients
            read as text.
    """

    content: bytes
    media_type: str
    file_name: str | None = None


def form_data(parts: Mapping[str, Part]) -> tuple[bytes, str]:
    """Put parts together as `multipart/form-data`.

    Args:
        parts: dict of name to part. Names are of ASCII letters, digits and `_`.

    Returns:
        The bytes of the answer, and its media type.

    Example:
        >>> content, kind = form_data({"info": Part(b"{}", "application/json")})
        >>> kind.partition(";")[0], content.count(b"name=")
        ('multipart/form-data', 1)

    Source: RFC 7578.
    """
    boundary = secrets.token_hex(16)  # No part holds it, unless by a chance of 1 in 2**128.
    pieces = []
    for name, part in parts.items():
        file_name = "" if part.file_name is None else f'; filename="{part.file_name}"'
        head = (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="{name}"{file_name}\r\n'
            f"Content-Type: {part.media_type}\r\n\r\n"
        )
        pieces += [head.encode(), part.content, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode("ascii"))
    return b"".join(pieces), f"multipart/form-data; boundary={boundary}"
