"""Tell a waiting user about a long compilation."""

import os
import threading
from collections.abc import Callable
from typing import Any

from keras_espmedsam._compile_cache import FOLDER_VARIABLE, users_own
from keras_espmedsam._startup import choose_backend

PATIENCE = 5.0
"""Seconds to wait before the notice."""

_hinted: list[bool] = []  # The hint is given once per process.

# PyTorch does not compile here.
_COMPILERS = {"jax": "JAX", "tensorflow": "TensorFlow"}


class CompileNotice:
    """Report a compilation once, if it takes more than five seconds.

    Args:
        tell: called with a sentence, from another thread.

    Example:
        >>> notice = CompileNotice(print)
        >>> notice.begin("the first training step", "the next are quick")
        >>> notice.end()  # Not five seconds later: nothing is printed.
    """

    def __init__(self, tell: Callable[[str], Any]):
        self._tell = tell
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def begin(self, what: str, then: str) -> None:
        """Start the waiting time.

        Args:
            what: what is compiled, such as `"the first training step"`.
            then: what comes next, such as `"the next are quick"`.
        """
        compiler = _COMPILERS.get(choose_backend())
        if compiler is None or self._timer is not None:
            return
        sentence = f"{compiler} compiles {what}, which can take a minute or more; {then}."
        self._timer = threading.Timer(PATIENCE, self._say, [sentence, compiler])
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        """Cancel the notice; after this returns, nothing is reported any more."""
        with self._lock:
            self._tell = _nothing
        if self._timer is not None:
            self._timer.cancel()

    def _say(self, sentence: str, compiler: str) -> None:
        with self._lock:
            if self._tell is not _nothing:
                self._tell(sentence + _hint(compiler))


def _nothing(sentence: str) -> None:
    """Replace `tell` after the end."""


def _hint(compiler: str) -> str:
    # No hint if the folder was set or switched off, which the commands always do.
    if compiler != "JAX" or FOLDER_VARIABLE in os.environ or users_own() or _hinted:
        return ""
    _hinted.append(True)
    return " keras_espmedsam.compile_cache() stores it for the next run."
