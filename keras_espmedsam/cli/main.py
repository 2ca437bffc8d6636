"""The entry point of the command `espmedsam`.

Signal handlers are set before most imports, which take half a second: Ctrl-C would end in a
traceback there.
"""

import gc
import os
import sys

from keras_espmedsam.cli.interruption import check_interrupted, exit_code, raise_at_signals, told
from keras_espmedsam.cli.standard_streams import guard_streams, stdout_is_lost


def __getattr__(name: str) -> object:
    # It was here in 0.1.0, for programs that call the command in-process.
    if name == "app":
        from keras_espmedsam.cli.app import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main() -> None:
    """Run the command line."""
    guard_streams()
    raise_at_signals()
    try:
        _check_working_folder()
        from keras_espmedsam.cli.app import app

        try:
            app(prog_name="espmedsam")
        except SystemExit as end:
            # Outside a command's own code, typer ends without a message.
            if end.code == exit_code(KeyboardInterrupt()):
                check_interrupted()
            raise
    except KeyboardInterrupt as stop:
        print(told(stop, "incomplete results are not kept."), file=sys.stderr)
        sys.exit(exit_code(stop))
    except SystemExit as end:
        if not end.code and stdout_is_lost():
            sys.exit(1)  # The same code as when some of the work failed.
        raise
    finally:
        # Otherwise Python spends a second at exit looking for garbage in all of Keras.
        gc.freeze()


def _check_working_folder() -> None:
    """Stop if the working folder was removed: libraries crash there, some without a message."""
    try:
        os.getcwd()
    except OSError as error:
        print(
            f"error: The working folder cannot be used ({error.strerror}); perhaps it was removed. "
            "Change to another folder.",
            file=sys.stderr,
        )
        sys.exit(2)  # The code for "nothing was done".


if __name__ == "__main__":
    main()
