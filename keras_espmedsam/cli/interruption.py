"""Ctrl-C, and signals that end a command: what is begun is tidied up, and what is done is told."""

import os
import signal
import threading
from types import FrameType

# What a shell gives for a program that a signal ended is this and the signal's number.
_BY_SIGNAL = 128


class Terminated(KeyboardInterrupt):
    """A signal that ends the program, as what Ctrl-C raises, so that the same is done after it.

    Args:
        number: the signal's.

    Source: ours.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def raise_at_signals() -> None:
    """Let SIGTERM and SIGHUP raise `Terminated` in the main thread.

    What a program is started with that ignores one (nohup) is left.

    Source: ours.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    ours = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() == ours:
            raise Terminated(number)
        # A worker that was forked has nothing to tidy up.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP.
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop)


def exit_code(stop: KeyboardInterrupt) -> int:
    """The exit code of a command that was interrupted: 130 after Ctrl-C, 143 after SIGTERM.

    Args:
        stop: what was raised.

    Example:
        >>> exit_code(KeyboardInterrupt()), exit_code(Terminated(signal.SIGTERM))
        (130, 143)

    Source: ours.
    """
    return _BY_SIGNAL + (stop.number if isinstance(stop, Terminated) else signal.SIGINT)


def told(stop: KeyboardInterrupt, what_is_done: str) -> str:
    """A sentence about the end of a command.

    Args:
        stop: what was raised.
        what_is_done: how the sentence goes on.

    Example:
        >>> told(KeyboardInterrupt(), "2 of 5 files are segmented.")
        'Interrupted: 2 of 5 files are segmented.'

    Source: ours.
    """
    if not isinstance(stop, Terminated):
        return f"Interrupted: {what_is_done}"
    return f"Ended by {signal.Signals(stop.number).name}: {what_is_done}"
