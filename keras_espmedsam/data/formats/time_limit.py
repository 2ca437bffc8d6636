"""Stop reading a file that takes longer than any valid file.

Whatever the header promises is checked before decoding; this limit catches endless loops in the
libraries. Only the computing time of the reading thread counts, not the time that it waits for a
slow disk, another program or a closed laptop.
"""

import contextlib
import ctypes
import math
import os
import threading
import time
from collections.abc import Callable

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError

VARIABLE = "ESPMEDSAM_READ_SECONDS"
"""The environment variable that sets the limit of a step, in seconds of computing."""

DEFAULT_SECONDS = 60.0
"""The default limit of a step: reading the header, or one image. Most take milliseconds, a
gzipped volume of 400 million voxels about 15 seconds."""

# Seconds between two checks, and the number of idle checks after which the thread ends.
_LOOK_EVERY, _IDLE_LOOKS = 0.25, 8


def allowed_seconds() -> float:
    """Return how long reading the header of a file, or one image, may take.

    Returns:
        Seconds; infinite for no limit.

    Raises:
        InputError: when the environment variable is not a positive number.

    Example:
        >>> allowed_seconds()
        60.0
    """
    return seconds_of(
        VARIABLE,
        DEFAULT_SECONDS,
        "how many seconds of computing the header of a file, or one image, may take, such as 300",
    )


def seconds_of(variable: str, default: float, meaning: str) -> float:
    """Read a time limit from an environment variable.

    Args:
        variable: its name.
        default: seconds, if it is not set.
        meaning: what is expected, for the message.

    Returns:
        Seconds; infinite for no limit.

    Raises:
        InputError: when it is not a positive number.

    Example:
        >>> seconds_of("NO_SUCH_SECONDS", 60.0, "how many seconds it may take")
        60.0
    """
    said = os.environ.get(variable, "").strip()
    try:
        seconds = float(said) if said else default
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise InputError(
            f"The environment variable {variable} is {shown_value(said)}; expected {meaning}, or "
            "inf."
        )
    return seconds


class TimeUp(BaseException):
    """Raised in a thread whose time is up; not an `Exception`, which libraries would catch."""


class _Step:
    """One step of reading in a thread, with its deadline."""

    def __init__(self, seconds: float):
        self.thread = threading.get_ident()
        self.clock = _clock()
        self.end = self.clock() + seconds
        self.ended = False


class _Watch:
    """A thread that watches all steps, and ends when there are none for a while."""

    def __init__(self):
        self.reset()

    def reset(self):
        """Start again in a forked process, which does not inherit the thread."""
        self.lock = threading.Lock()
        self.steps: set[_Step] = set()
        self.is_looking = False

    def begin(self, step):
        with self.lock:
            self.steps.add(step)
            start, self.is_looking = not self.is_looking, True
        if start:
            threading.Thread(target=self._look, name="espmedsam-read-limit", daemon=True).start()

    def end(self, step):
        with self.lock:
            self.steps.discard(step)
        if step.ended:
            # A pending exception arrives here. Cancelling it instead makes Python 3.11 loop
            # forever under a debugger or coverage.
            with contextlib.suppress(TimeUp):
                for _ in range(1000):
                    pass

    def _look(self):
        idle = 0
        while idle < _IDLE_LOOKS:
            time.sleep(_LOOK_EVERY)
            with self.lock:
                idle = 0 if self.steps else idle + 1
                for step in self.steps:
                    if step.clock() > step.end:
                        step.ended = True
                        _end(step.thread)
                self.is_looking = idle < _IDLE_LOOKS


_watch = _Watch()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_watch.reset)


class TimeLimit:
    """A context that stops its block when it computes for too long.

    Raises:
        TimeUp: in the block, once its time is up.
        InputError: when the environment variable is not a positive number.

    Example:
        >>> with TimeLimit():
        ...     sum(range(10))
        45
    """

    def __init__(self):
        self._step: _Step | None = None

    def __enter__(self):
        seconds = allowed_seconds()
        if seconds < math.inf:
            self._step = _Step(seconds)
            _watch.begin(self._step)

    def __exit__(self, kind, error, trace):
        step = self._step
        if step is None:
            return
        try:
            _watch.end(step)
        except TimeUp:  # It arrived here; the next one would only come after the next check.
            _watch.end(step)
        if step.ended and not isinstance(error, TimeUp):  # A library caught it, or it came late.
            raise TimeUp


def _clock() -> Callable[[], float]:
    """Return a clock of this thread's computing time that any thread can read."""
    if hasattr(time, "pthread_getcpuclockid"):
        try:
            clock = time.pthread_getcpuclockid(threading.get_ident())
            time.clock_gettime(clock)
        except OSError:
            return time.monotonic
        return lambda: time.clock_gettime(clock)
    return time.monotonic  # Windows and macOS have no such clock.


def _end(thread: int) -> None:
    # The only way to interrupt a thread; documented in Python's C API, for debuggers.
    what = ctypes.py_object(TimeUp)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)
