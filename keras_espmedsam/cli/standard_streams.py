"""stdout and stderr that are closed, full, or read by nobody any more: the work goes on."""

import io
import os
import sys
from typing import TextIO

_STDOUT, _STDERR = 1, 2
_lost: set[int] = set()


def guard_streams() -> None:
    """Let no command end because of what it cannot print.

    What cannot be written to stdout is told once, on stderr, and the rest of it is dropped; what
    cannot be written to stderr is dropped. A stream that was closed is opened on nothing, or the
    next file that is opened would get its number, and with it what native libraries print.

    Source: ours.
    """
    for number in (0, _STDOUT, _STDERR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # The lowest number that is free is this one.
    sys.stdout = _guarded(sys.stdout, _STDOUT)
    sys.stderr = _guarded(sys.stderr, _STDERR)


def stdout_is_lost() -> bool:
    """Whether something of what was printed on stdout could not be written.

    Source: ours.
    """
    if sys.stdout is not None:
        sys.stdout.flush()
    return _STDOUT in _lost


def _guarded(stream: TextIO | None, number: int) -> TextIO:
    if stream is None:
        return open(os.devnull, "w")
    # With PYTHONUNBUFFERED there is no buffer between the two.
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    # A terminal of Windows has a class of its own, and a test has put something else there.
    if type(raw) is not io.FileIO or raw.fileno() != number:
        return stream
    assert isinstance(stream, io.TextIOWrapper)
    return io.TextIOWrapper(
        io.BufferedWriter(_Guarded(number, "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or buffer is raw,
    )


class _Guarded(io.FileIO):
    """A file that takes what it cannot write, too."""

    def write(self, data, /):
        try:
            return super().write(data)
        except OSError as error:
            number = self.fileno()
            # From now on, also for native libraries and other processes.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
            _lost.add(number)
            if number == _STDOUT:
                print(
                    f"error: stdout cannot be written: {error.strerror}. What is printed there "
                    "is lost; files are written all the same.",
                    file=sys.stderr,
                )
            return len(data)
