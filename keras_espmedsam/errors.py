"""The error and the warning for input that the user can fix."""

import contextlib
import contextvars
import difflib
import sys
import warnings
from collections.abc import Iterable, Iterator
from types import FrameType

from keras_espmedsam._shown import LENGTH, shown_sentence

_OURS = (__name__.split(".")[0], "keras", "keras_hub")


class InputError(ValueError):
    """Input that cannot be used, explained in one sentence.

    The message says what was received, what was expected and what to do. The command line prints
    it without a traceback. It is one line that is safe to print, even if it quotes a file: control
    characters are escaped, and a very long message is cut.

    Example:
        >>> raise InputError("Received 7 modalities for 6 images; give one per image.")
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: Received 7 modalities for 6 images; give one per image.
    """

    def __init__(self, *args: object):
        super().__init__(*(shown_sentence(one) if isinstance(one, str) else one for one in args))


class NoImageError(InputError):
    """A valid file without an image, such as a report; in a folder, it is skipped.

    Args:
        message: str. The message.
        kind: str. What the file is instead, in a word or two.
    """

    def __init__(self, message: str, kind: str = "no image"):
        super().__init__(message)
        self.kind = kind


class InputWarning(UserWarning):
    """Input that is used, but perhaps not as intended, explained in one sentence.

    Example:
        >>> import warnings
        >>> warnings.warn("Only 12 of its 16 bits are used.", InputWarning, stacklevel=1)
    """


_TOLD_OTHERWISE = contextvars.ContextVar("told_otherwise", default=False)


@contextlib.contextmanager
def told_otherwise() -> Iterator[None]:
    """Silence `warn_of_input` in this thread, for a caller that reports the same another way.

    `warnings.catch_warnings` would affect all threads.
    """
    token = _TOLD_OTHERWISE.set(True)
    try:
        yield
    finally:
        _TOLD_OTHERWISE.reset(token)


def warn_of_input(sentence: str, stacklevel: int | None = None) -> None:
    """Warn with an `InputWarning`, except inside `told_otherwise`.

    Args:
        sentence: what is used, and why it may not be intended.
        stacklevel: as for `warnings.warn` at the place of this call; `None` is the first line
            outside of this package and of Keras.

    Example:
        >>> with told_otherwise():
        ...     warn_of_input("Only 12 of its 16 bits are used.", 1)
    """
    if not _TOLD_OTHERWISE.get():
        level = _level_outside() - 1 if stacklevel is None else stacklevel + 1
        warnings.warn(shown_sentence(sentence), InputWarning, stacklevel=level)


def _level_outside():
    """Return the stacklevel of the first line outside of these packages, for its own place."""
    frame: FrameType | None = sys._getframe()
    level = 1
    # Keras wraps some methods.
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in _OURS:
        frame, level = frame.f_back, level + 1
    return level


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name, with similar names if there are any.

    Args:
        name: str. The unknown name.
        known: the valid names.

    Example:
        >>> "Unknown key 'epoch'" + did_you_mean("epoch", ["epochs", "seed"])
        "Unknown key 'epoch'; did you mean epochs?"
    """
    near = difflib.get_close_matches(str(name)[:LENGTH], list(known), n=2)
    return f"; did you mean {' or '.join(near)}?" if near else "."
