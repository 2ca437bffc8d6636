"""An answer of JSON and a file, as a form."""

import json
import secrets
from typing import Any


def multipart_body(
    params: dict[str, Any], name: str, kind: str, content: bytes
) -> tuple[bytes, str]:
    """Return the bytes of an answer with the parts `params` and `image`, and its content type.

    Args:
        params: the JSON object.
        name: the file's name, for its suffix.
        kind: its type.
        content: its bytes.

    Example:
        >>> body, kind = multipart_body({}, "label.nrrd", "application/octet-stream", b"NRRD")
        >>> kind.startswith("multipart/form-data; boundary=")
        True

    Source: RFC 7578.
    """
    boundary = secrets.token_hex(16)  # No image has it, unless by a chance of 1 in 2**128.
    head = (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="params"\r\n'
        "Content-Type: application/json\r\n\r\n"
        f"{json.dumps(params, allow_nan=False)}\r\n"
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="image"; filename="{name}"\r\n'
        f"Content-Type: {kind}\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"
