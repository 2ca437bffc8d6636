"""Run an untrusted artefact with limits on time and memory.

The formats' own checks let only mathematics through, but any amount of it: a few hundred bytes can
ask for a year or for a terabyte. Everything runs in one thread, which is waited for.
"""

import contextlib
import faulthandler
import os
import queue
import sys
import threading
import time
from pathlib import Path

import numpy as np

from keras_espmedsam._shown import shown
from keras_espmedsam._startup import first_line
from keras_espmedsam.data.formats.time_limit import seconds_of
from keras_espmedsam.errors import InputError

VARIABLE = "ESPMEDSAM_ARTEFACT_SECONDS"
"""Environment variable for the seconds that an artefact may take to load, and for each call."""

DEFAULT_SECONDS = 60.0
"""The default, for up to a million pixels; beyond that in proportion. The largest preset takes a
tenth of it on one slow core."""

# Extra memory allowed beyond what the process has: activations take some hundred numbers per pixel.
BYTES = 8 * 2**30
BYTES_PER_PIXEL = 2**13
_PIXELS = 1e6

_SLICE = 0.25


def allowed_seconds():
    """Return the seconds that an artefact may load, or compute for up to a million pixels.

    Returns:
        float. Infinite for no limit.

    Raises:
        InputError: if the environment variable is not a positive number.

    Example:
        >>> allowed_seconds()
        60.0
    """
    return seconds_of(
        VARIABLE,
        DEFAULT_SECONDS,
        "how many seconds an exported model may compute at a time, such as 600",
    )


class BoundedRuntime:
    """Loads and calls a runtime under limits, turning any error into a sentence.

    Args:
        load: callable without arguments that returns the runtime, a callable from a dict of arrays
            to a dict of arrays. If the runtime has a method `stop`, it can be interrupted.
        path: `pathlib.Path` of the artefact, for messages.
        unbounded: whether there are no limits.

    Raises:
        InputError: if it cannot be loaded within the limits.
    """

    def __init__(self, load, path, unbounded=False):
        self.path = Path(path)
        self.seconds = allowed_seconds()
        self.unbounded = unbounded
        self._runtime = None
        self._ended = None
        self._own = (
            threading.local()
        )  # Each calling thread has its own worker: none waits for another.
        self._runtime = self._run("loaded", load, self.seconds, BYTES)

    def __call__(self, inputs):
        """Call the runtime.

        Args:
            inputs: dict of arrays.

        Returns:
            dict of arrays.

        Raises:
            InputError: if it fails or reaches a limit.
        """
        pixels = int(np.prod(np.shape(inputs["images"])[:3]))
        seconds = self.seconds * max(1.0, pixels / _PIXELS)
        memory = BYTES + pixels * BYTES_PER_PIXEL
        return self._run("run", lambda: self._runtime(inputs), seconds, memory)

    def __getattr__(self, name):
        """Return any other attribute of the runtime."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._runtime, name)

    def _run(self, done, function, seconds, memory):
        if self._ended is not None:
            raise InputError(self._ended)
        try:
            if self.unbounded:
                return function()
            with _crash_reported(), _memory_bounded(memory):
                return self._waited_for(function, seconds)
        except InputError:
            raise
        except _TimeOut:
            self._ended = (
                f"The artefact {shown(self.path)} was not {done} within {seconds:.3g} seconds and "
                f"was stopped. If you trust who made it, set the environment variable {VARIABLE} "
                "to more, or to inf."
            )
            getattr(self._runtime, "stop", lambda: None)()
            raise InputError(self._ended) from None
        # A damaged or foreign file can raise almost anything, and each runtime has its own errors.
        except (Exception, SystemExit) as error:
            # Every runtime reports refused memory in its own way.
            hint = ""
            if isinstance(error, MemoryError) or "alloc" in str(error).lower():
                hint = (
                    f" It may use {memory / 2**30:.0f} GiB; if you trust who made it, --trust on "
                    "the command line, or trust=True in Python, takes the limit away."
                )
            raise InputError(
                f"The artefact {shown(self.path)} cannot be {done} ({type(error).__name__}: "
                f"{shown(first_line(error), 300)}); get it again, or export the model again.{hint}"
            ) from error

    def _waited_for(self, function, seconds):
        worker = getattr(self._own, "worker", None)
        if worker is None or worker.process != os.getpid():  # Threads do not survive a fork.
            worker = self._own.worker = _Worker()
        result = worker.do(function)
        left = seconds
        while True:
            start = time.monotonic()
            try:
                value, error = result.get(timeout=min(_SLICE, max(left, 0.001)))
                break
            except queue.Empty:
                # A sleeping computer or a suspended program is not the artefact's fault.
                left -= min(time.monotonic() - start, 2 * _SLICE)
                if left <= 0:
                    raise _TimeOut from None
        if error is not None:
            raise error
        return value


class _Worker:
    """A thread that runs one job at a time and does not keep the program alive."""

    def __init__(self):
        self.process = os.getpid()
        self.jobs = queue.SimpleQueue()
        threading.Thread(target=_work, args=(self.jobs,), daemon=True).start()

    def do(self, function):
        result = queue.SimpleQueue()
        self.jobs.put((function, result))
        return result

    def __del__(self):
        self.jobs.put(None)


class _TimeOut(Exception):
    pass


def _work(jobs):
    while (job := jobs.get()) is not None:
        function, result = job
        try:
            found = function(), None
        except BaseException as error:
            found = None, error
        result.put(found)
        # Do not hold either until the next call.
        del job, function, result, found


@contextlib.contextmanager
def _crash_reported():
    """Within the block, a crash in a runtime's own code prints where it happened."""
    enabled = faulthandler.is_enabled()
    try:
        if not enabled:
            faulthandler.enable(sys.__stderr__)
    except (AttributeError, OSError, ValueError):  # A program without stderr.
        enabled = True
    try:
        yield
    finally:
        if not enabled:
            faulthandler.disable()


_LIMITS = threading.Lock()
_limited: list = []  # One entry for each running call: the process' limits before it.


@contextlib.contextmanager
def _memory_bounded(memory):
    """Within the block, limit the process' extra memory; works only on Linux."""
    try:
        import resource

        own = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError, ValueError):
        yield
        return
    with _LIMITS:
        # Of several calls at once, the latest sets its limit, and the last restores the first's.
        own = _limited[-1] if _limited else own
        _limited.append(own)
        limits = (pages * resource.getpagesize() + int(memory), *own)
        least = min(one for one in limits if one != resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_AS, (least, own[1]))
    try:
        yield
    finally:
        with _LIMITS:
            _limited.pop()
            if not _limited:
                resource.setrlimit(resource.RLIMIT_AS, own)
