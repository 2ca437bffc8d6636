"""What all commands say and how: results on stdout, everything else on stderr."""

import contextlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.status import Status
from rich.text import Text

from keras_espmedsam._shown import printable, shown
from keras_espmedsam.cli.interruption import exit_code, told
from keras_espmedsam.errors import InputError, InputWarning

SOME_FAILED, NOTHING_DONE = 1, 2
"""Exit codes beside 0: some of the work failed; wrong usage, or nothing was done."""

# A list of paths is for other programs: none is cut.
_LONGEST_PATH = 1 << 20

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


class _PlainConsole(Console):
    """A console for which text from a file cannot steer the terminal, wherever it stands."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Text of a sentence or of a table's cell; ends of lines stay."""
        return super().render_str("\n".join(map(printable, text.split("\n"))), **options)

    def status(self, status: Any, **options: Any) -> Status:
        """What goes on, which rich would read as its markup."""
        return super().status(Text(printable(status)), **options)


def stderr() -> Console:
    """A console on stderr; made anew, so that it writes where stderr points at the moment."""
    # Paths may hold brackets and any length: no markup, and no line breaks of ours in them.
    return _PlainConsole(stderr=True, markup=False, highlight=False, soft_wrap=True, emoji=False)


def stdout(lost: bool = False) -> Console:
    """A console on stdout for tables; a pipe or a file has no width that would cut them.

    Args:
        lost: whether nothing can be written there; then it is on stderr.
    """
    console = _PlainConsole(stderr=lost, markup=False, highlight=False, emoji=False)
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


def print_path(path: Path) -> None:
    """Print the path of a result on a line of stdout, whatever it is named.

    Args:
        path: the path.

    Source: ours.
    """
    typer.echo(shown(path, _LONGEST_PATH))


@contextlib.contextmanager
def errors_reported(
    done: Callable[[], str] = lambda: "what was not complete is not kept.",
) -> Iterator[None]:
    """End the command with one sentence and exit code 2 on an error that is the user's to mend.

    Interrupted, it ends with what `done` says and 130, or as the signal wants it.

    Args:
        done: gives the end of a sentence about what is done when the command is interrupted.

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
        except KeyboardInterrupt as stop:
            stderr().print(told(stop, done()))
            raise typer.Exit(exit_code(stop)) from None


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
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        # stdout may be a pipe: results must go there and not to the bar's terminal.
        redirect_stdout=False,
    )
