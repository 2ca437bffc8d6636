"""Output of all commands: results on stdout, everything else on stderr."""

import contextlib
import errno
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
from keras_espmedsam.cli.interruption import check_interrupted, exit_code, told
from keras_espmedsam.errors import InputError, InputWarning

SOME_FAILED, NOTHING_DONE, SOME_SET_ASIDE = 1, 2, 3
"""Exit codes other than 0: some of the work failed; wrong usage, or nothing was done; all is done,
but some results are predicted to be worse than was asked for, or their images are out of scope."""

# The errors of a disk that is full or cannot be written.
_OF_A_DISK = {errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}
# Other programs read the list of paths, so none is shortened.
_LONGEST_PATH = 1 << 20

INTENSITY_OPTION = typer.Option(
    metavar="full|auto|LOW:HIGH",
    help="Values shown as black and white. full: the whole range of the data type; auto: what the "
    "file declares, else estimated from its values; LOW:HIGH: these two. Default: the preset's "
    "choice, else auto.",
    show_default=False,
)
"""An option of `segment` and `evaluate`."""


PRECISION_OPTION = typer.Option(
    metavar="float32|bfloat16",
    help="Data type to compute in. bfloat16 is faster on hardware that supports it, with slightly "
    "different results. Default: float32.",
    show_default=False,
)
"""An option of `segment` and `evaluate`; that of `export` is for the stored weights."""


class _PlainConsole(Console):
    """A console that removes terminal control characters, since text may come from a file."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Render a sentence or a table cell; line breaks stay."""
        return super().render_str("\n".join(map(printable, text.split("\n"))), **options)

    def status(self, status: Any, **options: Any) -> Status:
        """Show what is being done; without `Text`, rich would read it as markup."""
        return super().status(Text(printable(status)), **options)


def stderr() -> Console:
    """Return a new console on stderr, which writes wherever stderr points at the moment."""
    # Paths may be long and contain brackets: no markup, and no added line breaks.
    return _PlainConsole(stderr=True, markup=False, highlight=False, soft_wrap=True, emoji=False)


def stdout(lost: bool = False) -> Console:
    """Return a console for tables on stdout, which are not cut in a pipe or a file.

    Args:
        lost: whether stdout cannot be written; then the console is on stderr.
    """
    console = _PlainConsole(stderr=lost, markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = 200
    return console


def print_error(error: object, console: Console | None = None) -> None:
    """Print `error: ...` on stderr.

    Args:
        error: the message, or the exception that holds it.
        console: the console of a running progress bar, so that their lines do not mix.
    """
    (console or stderr()).print(f"error: {error}", style="red")


def print_path(path: Path) -> None:
    """Print the path of a result on one line of stdout, whatever characters it contains.

    Args:
        path: the path.
    """
    typer.echo(shown(path, _LONGEST_PATH))


@contextlib.contextmanager
def errors_reported(
    done: Callable[[], str] = lambda: "incomplete results are not kept.",
) -> Iterator[None]:
    """End the command with a message and exit code 2 on an error that the user can fix.

    If it is interrupted, the command ends with the sentence from `done` and exit code 130, or the
    code of the signal.

    Args:
        done: returns the end of a sentence that says what was done before the interruption.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("default", InputWarning)
        warnings.showwarning = _shown_as_lines(warnings.showwarning)
        try:
            try:
                yield
            except InputError as error:
                check_interrupted()  # A library may have turned an interrupt into this error.
                print_error(error)
                raise typer.Exit(NOTHING_DONE) from error
            except OSError as error:
                if error.errno not in _OF_A_DISK:
                    raise
                where = f" {error.filename}" if error.filename else ""
                print_error(
                    f"A file{where} cannot be written: {error.strerror}. Free some space, or use a "
                    "folder on another disk (TMPDIR sets the one for temporary files); "
                    f"{done()}"
                )
                raise typer.Exit(NOTHING_DONE) from error
        except KeyboardInterrupt as stop:
            stderr().print(told(stop, done()))
            raise typer.Exit(exit_code(stop)) from None


def _shown_as_lines(others):
    """Return a `showwarning` that prints an `InputWarning` without its place in the code."""

    def show(message, category, *place):
        if issubclass(category, InputWarning):
            stderr().print(f"warning: {message}")
        else:
            others(message, category, *place)

    return show


_OF_INTENSITY = ("black and white", "window", "shown alike")


class Notices:
    """Print notices about files: each for the first few files, then the number of the rest.

    Args:
        console: where to print.
    """

    _NAMED = 3

    def __init__(self, console: Console):
        self.console = console
        self.count: Counter[str] = Counter()

    def add(self, path: Path, notice: str) -> None:
        """Print a notice, the end of a sentence that begins with the path."""
        self.count[notice] += 1
        if self.count[notice] <= self._NAMED:
            self.console.print(f"{path}: {notice}.")

    def end(self) -> None:
        """Print how many more files each notice applies to, and what to do about it."""
        for notice, count in self.count.items():
            if count > self._NAMED:
                self.console.print(f"And {count - self._NAMED} more files: {notice}.")
        if any(word in notice for notice in self.count for word in _OF_INTENSITY):
            self.console.print("If that is wrong, give --intensity full or --intensity LOW:HIGH.")


def progress_bar() -> Progress:
    """Return a progress bar on stderr, shown only on a terminal."""
    console = stderr()
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        # stdout may be a pipe: results must go there, not to the terminal with the bar.
        redirect_stdout=False,
    )
