"""The error and the warning for input that the user can mend."""

import contextlib
import contextvars
import difflib
import warnings
from collections.abc import Iterable, Iterator

from keras_espmedsam._shown import LENGTH, shown_sentence


class InputError(ValueError):
    """Input that cannot be used, explained in one sentence.

    The message says what was received, what was expected and what to do. The command line
    prints it without a traceback. It is one line that may be printed anywhere, whatever it quotes
    from a file: control characters are shown as escapes, and a message without end is cut.

    Example:
        >>> raise InputError("Received 7 modalities for 6 images; give one per image.")
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: Received 7 modalities for 6 images; give one per image.

    Source: ours.
    """

    def __init__(self, *args: object):
        super().__init__(*(shown_sentence(one) if isinstance(one, str) else one for one in args))


class NoImageError(InputError):
    """A sound file that holds no image, such as a report: in a folder it is passed over.

    Args:
        message: str. The sentence.
        kind: str. What it is instead, in a word or two.

    Source: ours.
    """

    def __init__(self, message: str, kind: str = "no image"):
        super().__init__(message)
        self.kind = kind


class InputWarning(UserWarning):
    """Input that is used, though perhaps not as it was meant, explained in one sentence.

    Example:
        >>> import warnings
        >>> warnings.warn("Only 12 of its 16 bits are used.", InputWarning, stacklevel=1)

    Source: ours.
    """


_TOLD_OTHERWISE = contextvars.ContextVar("told_otherwise", default=False)


@contextlib.contextmanager
def told_otherwise() -> Iterator[None]:
    """Meanwhile `warn_of_input` is silent in this thread: its caller tells the same in another way.

    `warnings.catch_warnings` would change what all threads warn of.

    Source: ours.
    """
    token = _TOLD_OTHERWISE.set(True)
    try:
        yield
    finally:
        _TOLD_OTHERWISE.reset(token)


def warn_of_input(sentence: str, stacklevel: int) -> None:
    """Warn with an `InputWarning`, unless that is told otherwise.

    Args:
        sentence: what is used, and how it was perhaps not meant.
        stacklevel: as of `warnings.warn` at the place of this call.

    Example:
        >>> with told_otherwise():
        ...     warn_of_input("Only 12 of its 16 bits are used.", 1)

    Source: ours.
    """
    if not _TOLD_OTHERWISE.get():
        warnings.warn(shown_sentence(sentence), InputWarning, stacklevel=stacklevel + 1)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: those that are near to it, if any.

    Args:
        name: str. What was received.
        known: names that there are.

    Example:
        >>> "Unknown key 'epoch'" + did_you_mean("epoch", ["epochs", "seed"])
        "Unknown key 'epoch'; did you mean epochs?"

    Source: ours.
    """
    near = difflib.get_close_matches(str(name)[:LENGTH], list(known), n=2)
    return f"; did you mean {' or '.join(near)}?" if near else "."
