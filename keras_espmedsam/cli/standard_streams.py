"""Keep working when stdout or stderr is closed, full, or no longer read."""

import io
import os
import sys
from typing import TextIO

_STDOUT, _STDERR = 1, 2
_lost: set[int] = set()


def guard_streams() -> None:
    """Keep a command running when it cannot print.

    The first failure on stdout is reported on stderr, and further output there is dropped; output
    that fails on stderr is dropped. A closed stream is opened on the null device, because the next
    opened file would otherwise get its number, and with it the output of native libraries. A
    character that the stream's encoding lacks is printed as its code, such as \\u773c.
    """
    for number in (0, _STDOUT, _STDERR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # It gets the lowest free number, which is this one.
    sys.stdout = _guarded(sys.stdout, _STDOUT)
    sys.stderr = _guarded(sys.stderr, _STDERR)


def stdout_is_lost() -> bool:
    """Return whether some output to stdout could not be written."""
    if sys.stdout is not None:
        sys.stdout.flush()
    return _STDOUT in _lost


def _guarded(stream: TextIO | None, number: int) -> TextIO:
    if stream is None:
        return open(os.devnull, "w")
    # With PYTHONUNBUFFERED there is no buffer between text and file.
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    # Windows terminals have their own class, and tests replace the stream.
    if type(raw) is not io.FileIO or raw.fileno() != number:
        return stream
    assert isinstance(stream, io.TextIOWrapper)
    return io.TextIOWrapper(
        io.BufferedWriter(_Guarded(number, "w", closefd=False)),
        encoding=stream.encoding,
        # On Windows a pipe has the code page's few characters, and file names have any.
        errors="backslashreplace" if stream.errors == "strict" else stream.errors,
        line_buffering=stream.line_buffering or buffer is raw,
    )


class _Guarded(io.FileIO):
    """A file that drops data it cannot write instead of raising."""

    def write(self, data, /):
        try:
            return super().write(data)
        except OSError as error:
            number = self.fileno()
            # At the level of the descriptor, so that native libraries and child processes follow.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
            _lost.add(number)
            if number == _STDOUT:
                print(
                    f"error: stdout cannot be written: {error.strerror}. Printed output is lost; "
                    "files are still written.",
                    file=sys.stderr,
                )
            return len(data)
