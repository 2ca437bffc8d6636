"""Ending what reads a file for longer than any sound file takes.

What a file promises is checked before it is decoded wherever its header says it. What remains are
loops in the libraries that no header tells of. The time is what the reading thread computes, and
not what it waits for a slow disk, another program or a laptop that was closed.
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
"""The environment variable that says how long a step may take, in seconds of computing."""

DEFAULT_SECONDS = 60.0
"""How long a step may take unless that says otherwise: the header, or one image. Most take
milliseconds, a gzipped volume of 400 million voxels some 15 seconds."""

# Seconds between two looks at what is being read, and how many without any end the looking.
_LOOK_EVERY, _IDLE_LOOKS = 0.25, 8


def allowed_seconds() -> float:
    """How long the header of a file, or one image, may be read.

    Returns:
        Seconds; infinite for no limit.

    Raises:
        InputError: when the environment variable is set to no positive number.

    Example:
        >>> allowed_seconds()
        60.0

    Source: ours.
    """
    return seconds_of(
        VARIABLE,
        DEFAULT_SECONDS,
        "how many seconds of computing the header of a file, or one image, may take, such as 300",
    )


def seconds_of(variable: str, default: float, meaning: str) -> float:
    """The limit of time that an environment variable says.

    Args:
        variable: its name.
        default: seconds, where it is not set.
        meaning: what is expected, for the sentence.

    Returns:
        Seconds; infinite for no limit.

    Raises:
        InputError: when it is set to no positive number.

    Example:
        >>> seconds_of("NO_SUCH_SECONDS", 60.0, "how many seconds it may take")
        60.0

    Source: ours.
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
    """Raised in a thread whose time is up. No `Exception`: libraries catch these and go on.

    Source: ours.
    """


class _Step:
    """What a thread is reading."""

    def __init__(self, seconds: float):
        self.thread = threading.get_ident()
        self.clock = _clock()
        self.end = self.clock() + seconds
        self.ended = False


class _Watch:
    """A thread that looks at all steps, and ends itself when there are none for a while."""

    def __init__(self):
        self.reset()

    def reset(self):
        """Begin anew, as in a process that was forked: threads are not forked with it."""
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
            # What has not arrived yet arrives here. To take it back instead, by raising nothing,
            # makes Python 3.11 go round for ever under a debugger or coverage.
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
    """A context whose block computes no longer than is allowed.

    Raises:
        TimeUp: in the block, once its time is up.
        InputError: when the environment variable is set to no positive number.

    Example:
        >>> with TimeLimit():
        ...     sum(range(10))
        45

    Source: ours.
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
        except TimeUp:  # It arrived here; the next would not before the time of a look.
            _watch.end(step)
        if step.ended and not isinstance(error, TimeUp):  # a library caught it, or it came late
            raise TimeUp


def _clock() -> Callable[[], float]:
    """How long this thread has computed, for any thread to ask."""
    if hasattr(time, "pthread_getcpuclockid"):
        try:
            clock = time.pthread_getcpuclockid(threading.get_ident())
            time.clock_gettime(clock)
        except OSError:
            return time.monotonic
        return lambda: time.clock_gettime(clock)
    return time.monotonic  # Windows and macOS tell no thread's time


def _end(thread: int) -> None:
    # The one way to interrupt a thread, made for debuggers and documented with Python's C API.
    what = ctypes.py_object(TimeUp)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)
