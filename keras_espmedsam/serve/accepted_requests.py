"""A bounded number of requests, each with its time, its folder and a thread."""

import asyncio
import math
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from keras_espmedsam.serve.problems import OutOfTime, Problem
from keras_espmedsam.serve.settings import ServerSettings

# Threads that read, write and wait for the model: enough to fill a batch during the one before.
_THREADS_PER_IMAGE = 2
# How much the last request counts in the mean time of a request.
_SHARE_OF_LAST = 0.2


class AcceptedRequests:
    """Accepts a bounded number of requests, so that neither memory nor waiting grows without end.

    Args:
        settings: the server's limits.
    """

    def __init__(self, settings: ServerSettings):
        self.settings = settings
        self._threads = ThreadPoolExecutor(
            _THREADS_PER_IMAGE * settings.batch_size, "espmedsam-request"
        )
        self._lock = threading.Lock()
        self._mean_seconds = 0.0
        self.count = 0

    def accept(self) -> "AcceptedRequest":
        """Accept a request; use what is returned in `async with`.

        Raises:
            Problem: with status 429, when as many as possible are accepted already.
        """
        with self._lock:
            if self.count >= self.settings.queue_size:
                # By then about one of them is done, if they are worked on one after another.
                seconds = max(1, math.ceil(self._mean_seconds / self.count))
                raise Problem(
                    429,
                    f"The server is busy with {self.count} requests, as many as it accepts; try "
                    f"again in {seconds} s.",
                    {"Retry-After": str(seconds)},
                )
            self.count += 1
        return AcceptedRequest(self, self._threads)

    def end(self, seconds: float) -> None:
        """Make room for another request.

        Args:
            seconds: how long this one took.
        """
        with self._lock:
            self.count -= 1
            known = self._mean_seconds or seconds
            self._mean_seconds = known + _SHARE_OF_LAST * (seconds - known)

    def close(self) -> None:
        """Wait until all threads have ended."""
        self._threads.shutdown()


class AcceptedRequest:
    """A request that is being answered.

    It makes room for another one when its thread has ended, even if it was given up before.
    """

    def __init__(self, among: AcceptedRequests, threads: ThreadPoolExecutor):
        self._among = among
        self._threads = threads
        self._began = time.monotonic()
        self._thread: Future | None = None
        self.seconds = among.settings.seconds
        self.deadline = self._began + self.seconds
        self.folder = Path()

    async def __aenter__(self) -> "AcceptedRequest":
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="espmedsam-request-"))
        except BaseException:
            self._among.end(0.0)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is None:
            self._end()
        else:  # At once, if it has ended already.
            self._thread.add_done_callback(lambda _: self._end())

    async def run(self, function: Callable[[], Any]) -> Any:
        """Call a function in a thread, and wait for it until the request's time is up.

        Args:
            function: without arguments; it may raise `TimeoutError` when the time is up.

        Returns:
            What it returns.

        Raises:
            OutOfTime: when the time is up. The thread may go on; what it returns is dropped.
        """
        self._thread = self._threads.submit(function)
        waiting = asyncio.ensure_future(asyncio.wrap_future(self._thread))
        left = max(0.0, self.deadline - time.monotonic())
        done, _ = await asyncio.wait({waiting}, timeout=left)
        if not done:
            waiting.cancel()  # Also what has not begun.
            raise OutOfTime(self.seconds)
        try:
            return waiting.result()
        except TimeoutError:
            raise OutOfTime(self.seconds) from None

    def _end(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self._among.end(time.monotonic() - self._began)
