"""The limits of a server, the token that opens it, and its folder of images."""

import dataclasses
import math
import os

from keras_espmedsam.errors import InputError

_SHORTEST_TOKEN = 16


@dataclasses.dataclass(frozen=True)
class ServerSettings:
    """The limits of a server, and what it works with.

    Args:
        token: what clients send as `Authorization: Bearer TOKEN`; None lets everyone in who
            reaches the port.
        batch_size: images per model call, of one request or of several.
        batch_wait: seconds that an image waits for others, so that they share a model call.
        queue_size: requests that are accepted at a time; more are answered with 429.
        seconds: the time that a request may take, from its first byte to its answer.
        max_bytes: the most bytes in the body of a request.
        max_pixels: the most pixels (height x width) of an image, or of all images of one tensor.
        studies: a folder of images that viewers label; None for none. Labels are written to
            `labels` within it.

    Raises:
        InputError: for a value that cannot be used.

    Example:
        >>> ServerSettings(queue_size=2).queue_size
        2
        >>> ServerSettings(queue_size=0)
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: Received queue_size=0; expected a whole number from 1.
    """

    token: str | None = dataclasses.field(default=None, repr=False)
    batch_size: int = 8
    batch_wait: float = 0.005
    queue_size: int = 64
    seconds: float = 60.0
    max_bytes: int = 100_000_000
    max_pixels: int = 25_000_000
    studies: str | os.PathLike | None = None

    def __post_init__(self):
        for name in ("batch_size", "queue_size", "max_bytes", "max_pixels"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise InputError(f"Received {name}={value!r}; expected a whole number from 1.")
        for name, least in (("batch_wait", "at least 0"), ("seconds", "more than 0")):
            value = getattr(self, name)
            fits = type(value) in (int, float) and math.isfinite(value) and value >= 0
            if not fits or (name == "seconds" and value == 0):
                raise InputError(
                    f"Received {name}={value!r}; expected a number of seconds, {least}."
                )
        if self.token is not None and not _is_token(self.token):
            raise InputError(
                f"Received a token that cannot be used; expected at least {_SHORTEST_TOKEN} "
                "letters, digits or signs without blanks, such as from: openssl rand -hex 32"
            )
        if self.studies is not None and not os.path.isdir(self.studies):
            raise InputError(
                f"The studies {os.fspath(self.studies)} are no folder; give a folder with images."
            )


def _is_token(token):
    if not isinstance(token, str) or len(token) < _SHORTEST_TOKEN:
        return False
    return all("!" <= sign <= "~" for sign in token)
