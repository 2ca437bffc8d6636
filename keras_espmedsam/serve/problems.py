"""What goes wrong with a request, with its HTTP status and one sentence."""

from collections.abc import Mapping
from pathlib import Path


class Problem(Exception):
    """A request that is not served.

    Args:
        status: the HTTP status.
        sentence: what was received, what was expected and what to do.
        headers: further headers of the answer.

    Example:
        >>> Problem(404, "There is no such model.").status
        404
    """

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None):
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = dict(headers or {})


class OutOfTime(Problem):
    """A request that took longer than it may.

    Args:
        seconds: the limit.
    """

    def __init__(self, seconds: float):
        super().__init__(
            503,
            f"The request took longer than {seconds:g} s and was given up; send fewer or smaller "
            "images at a time, or have --seconds of the server raised.",
            {"Retry-After": "10"},
        )


def without_path(sentence: str, path: Path) -> str:
    """Replace the server's own path of an uploaded image in a sentence.

    Args:
        sentence: the message.
        path: the file in which the image was kept.

    Example:
        >>> without_path("/tmp/a1/image is empty; see /tmp/a1/image.", Path("/tmp/a1/image"))
        'The image is empty; see the image.'
    """
    name = str(path)
    if sentence.startswith(name):
        sentence = f"The image{sentence[len(name) :]}"
    return sentence.replace(name, "the image")
