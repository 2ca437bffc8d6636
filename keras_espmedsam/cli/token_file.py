"""The token of a server or an archive, from a file or the environment."""

import os
from pathlib import Path

from keras_espmedsam.errors import InputError


def read_token(path: Path | None, variable: str) -> str | None:
    """Return the token in a file or, without one, in an environment variable; None for none.

    Args:
        path: the file; white space around the token is left out.
        variable: the variable's name.

    Raises:
        InputError: when the file cannot be read.
    """
    if path is None:
        return os.environ.get(variable) or None
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise InputError(f"The token file {path} cannot be read: {reason}.") from error
