"""The command `espmedsam`."""

import gc
import os
import sys

import typer

from keras_espmedsam.cli import convert
from keras_espmedsam.cli.add_modality import add_modality
from keras_espmedsam.cli.command import Command
from keras_espmedsam.cli.console import NOTHING_DONE, SOME_FAILED, print_error
from keras_espmedsam.cli.distill import distill
from keras_espmedsam.cli.evaluate import evaluate
from keras_espmedsam.cli.export import export
from keras_espmedsam.cli.interruption import exit_code, raise_at_signals, told
from keras_espmedsam.cli.presets import presets
from keras_espmedsam.cli.segment import segment
from keras_espmedsam.cli.standard_streams import guard_streams, stdout_is_lost
from keras_espmedsam.cli.train import train

app = typer.Typer(
    name="espmedsam",
    help="Segment medical images of six modalities with ESP-MedSAM. For research use only.",
    no_args_is_help=True,
    # A traceback with local variables could show what a DICOM header holds.
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)
for _command in (segment, evaluate, presets, train, distill, add_modality, export):
    app.command(cls=Command)(_command)
app.add_typer(convert.app, name="convert")


def main() -> None:
    """Run the command line.

    Source: ours.
    """
    guard_streams()
    raise_at_signals()
    try:
        _check_working_folder()
        app(prog_name="espmedsam")
    except KeyboardInterrupt as stop:
        print_error(told(stop, "nothing was done."))
        sys.exit(exit_code(stop))
    except SystemExit as end:
        if not end.code and stdout_is_lost():
            sys.exit(SOME_FAILED)
        raise
    finally:
        # Or Python looks for garbage in all of Keras, for a second, before it ends.
        gc.freeze()


def _check_working_folder() -> None:
    """Refuse one that was removed: libraries end the program there, some without a word."""
    try:
        os.getcwd()
    except OSError as error:
        print_error(
            f"The working folder cannot be used ({error.strerror}), perhaps because it was "
            "removed; change to another one."
        )
        sys.exit(NOTHING_DONE)


if __name__ == "__main__":
    main()
