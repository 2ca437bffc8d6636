"""What all commands say and how: results on stdout, everything else on stderr."""

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from keras_espmedsam.errors import InputError, InputWarning

SOME_FAILED, NOTHING_DONE = 1, 2
"""Exit codes beside 0: some of the work failed; wrong usage, or nothing was done."""

INTENSITY_OPTION = typer.Option(
    metavar="full|auto|LOW:HIGH",
    help="What is black and white: the whole range of the bits; what the file says, or else its "
    "values (auto); or two values. By default as the preset says, else auto.",
    show_default=False,
)
"""The option that `segment` and `evaluate` share."""


PRECISION_OPTION = typer.Option(
    metavar="float32|bfloat16",
    help="What is computed in (float32); bfloat16 is faster where the processor has units for it, "
    "and differs a little.",
    show_default=False,
)
"""The option that `segment` and `evaluate` share; `export` has one for what is stored."""


def stderr() -> Console:
    """A console on stderr; made anew, so that it writes where stderr points at the moment."""
    # Paths may hold brackets and any length: no markup, and no line breaks of ours in them.
    return Console(stderr=True, markup=False, highlight=False, soft_wrap=True, emoji=False)


def stdout() -> Console:
    """A console on stdout for tables; a pipe or a file has no width that would cut them."""
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = 200
    return console


def print_error(error: object, console: Console | None = None) -> None:
    """Print `error: ...` on stderr.

    Args:
        error: the sentence, or the exception that holds it.
        console: the console of a running progress bar, so that the two do not mix.
    """
    (console or stderr()).print(f"error: {error}", style="red")


@contextlib.contextmanager
def errors_reported() -> Iterator[None]:
    """End the command with one sentence and exit code 2 on an error that is the user's to mend.

    Source: ours.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("default", InputWarning)
        warnings.showwarning = _shown_as_lines(warnings.showwarning)
        try:
            yield
        except InputError as error:
            print_error(error)
            raise typer.Exit(NOTHING_DONE) from error


def _shown_as_lines(others):
    """How a warning is shown: ours as a sentence, without the place in the code."""

    def show(message, category, *place):
        if issubclass(category, InputWarning):
            stderr().print(f"warning: {message}")
        else:
            others(message, category, *place)

    return show


_OF_INTENSITY = ("black and white", "window", "shown alike")


class Notices:
    """Print what is said of files, each sentence for the first of them alone, with their number.

    Args:
        console: where to print.

    Source: ours.
    """

    _NAMED = 3

    def __init__(self, console: Console):
        self.console = console
        self.count: Counter[str] = Counter()

    def add(self, path: Path, notice: str) -> None:
        """Say something of a file: the end of a sentence that begins with it."""
        self.count[notice] += 1
        if self.count[notice] <= self._NAMED:
            self.console.print(f"{path}: {notice}.")

    def end(self) -> None:
        """Say of how many more files it was true, and what can be done."""
        for notice, count in self.count.items():
            if count > self._NAMED:
                self.console.print(f"And {count - self._NAMED} more files: {notice}.")
        if any(word in notice for notice in self.count for word in _OF_INTENSITY):
            self.console.print("If that is wrong, say it: --intensity full, or LOW:HIGH.")


def progress_bar() -> Progress:
    """A progress bar on stderr, shown on a terminal only."""
    console = stderr()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        # stdout may be a pipe: results must go there and not to the bar's terminal.
        redirect_stdout=False,
    )
