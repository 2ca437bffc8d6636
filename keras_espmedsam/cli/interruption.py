"""Ctrl-C and signals that end a command: it cleans up, and says what was done."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

# A shell reports a program that a signal ended as this plus the signal's number.
_BY_SIGNAL = 128
# Seconds before a signal whose exception was lost is sent again.
_AGAIN = 0.01
# The last interrupt that was raised, if it was not reported yet.
_untold: list[KeyboardInterrupt] = []


class Terminated(KeyboardInterrupt):
    """A signal that ends the program, raised like Ctrl-C so that the same code handles it.

    Args:
        number: the signal's number.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def raise_at_signals() -> None:
    """Let SIGTERM and SIGHUP raise `Terminated` in the main thread.

    A signal that the program was started to ignore (nohup) stays ignored. Python drops an exception
    that is raised while it frees an object, as every import does; then the signal is sent again.
    If a library catches the exception, see `check_interrupted`.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    ours = os.getpid()
    main = threading.get_ident()
    raised = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() == ours:
            if _runs(send_again, frame):
                return  # It would be dropped too; it is sent again.
            raised.set()
            stopped = Terminated(number) if number != signal.SIGINT else KeyboardInterrupt()
            _untold[:] = [stopped]
            raise stopped
        # A forked worker has nothing to clean up; PyTorch's workers expect Python's own Ctrl-C.
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP.
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, stop)
    dropped = sys.unraisablehook

    def send_again(unraisable: "sys.UnraisableHookArgs") -> None:
        lost = unraisable.exc_value
        if not isinstance(lost, KeyboardInterrupt) or os.getpid() != ours:
            dropped(unraisable)
            return
        raised.clear()
        again = threading.Thread(target=send, args=(exit_code(lost) - _BY_SIGNAL,), daemon=True)
        with contextlib.suppress(RuntimeError):  # The program is ending anyway.
            again.start()

    def send(number: int) -> None:
        while not raised.wait(_AGAIN):
            signal.pthread_kill(main, number)

    if hasattr(signal, "pthread_kill"):  # Windows has none.
        sys.unraisablehook = send_again


def _runs(function: Callable, frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code is not function.__code__:
        frame = frame.f_back
    return frame is not None


def check_interrupted() -> None:
    """Raise an interrupt again that a library has caught.

    Raises:
        KeyboardInterrupt: when one was raised and not reported yet.
    """
    if _untold:
        raise _untold[-1]


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code of an interrupted command: 130 after Ctrl-C, 143 after SIGTERM.

    Args:
        stop: the exception.

    Example:
        >>> exit_code(KeyboardInterrupt()), exit_code(Terminated(signal.SIGTERM))
        (130, 143)
    """
    return _BY_SIGNAL + (stop.number if isinstance(stop, Terminated) else signal.SIGINT)


def told(stop: KeyboardInterrupt, what_is_done: str) -> str:
    """Return the message for the end of an interrupted command.

    Args:
        stop: the exception.
        what_is_done: the end of the sentence, which says what was done.

    Example:
        >>> told(KeyboardInterrupt(), "2 of 5 files are segmented.")
        'Interrupted: 2 of 5 files are segmented.'
    """
    _untold.clear()
    if not isinstance(stop, Terminated):
        return f"Interrupted: {what_is_done}"
    return f"Ended by {signal.Signals(stop.number).name}: {what_is_done}"
