"""`--compile-cache`, the option of every command that starts Keras."""

import contextlib
import os
from typing import Annotated

import typer

from keras_espmedsam._compile_cache import (
    FOLDER_VARIABLE,
    MAX_BYTES,
    OFF,
    compile_cache,
    default_folder,
)
from keras_espmedsam._startup import choose_backend
from keras_espmedsam.cli.console import stderr
from keras_espmedsam.errors import InputError

CompileCache = Annotated[
    str | None,
    typer.Option(
        "--compile-cache",
        metavar=f"DIR|{OFF}",
        help="Where JAX keeps what it compiles, so that the next run need not wait for it; "
        f"{OFF}: nowhere. Without it a folder in your cache.",
        show_default=False,
    ),
]


def keep_compiled(folder: str | None) -> None:
    """Let JAX keep what it compiles; called before Keras starts.

    What is said with the option or with JAX's own environment variable is done, and what is wrong
    with it refused. Without either it is a folder in the user's cache, of which is told when it is
    made; where it cannot be written to, the command does without.

    Args:
        folder: the value of `--compile-cache`; `None` when it was not given.

    Raises:
        InputError: for a folder that was asked for and cannot be used.

    Source: ours.
    """
    if folder is not None:
        compile_cache(folder)
        return
    with contextlib.suppress(ImportError):  # No backend at all, which is told when Keras starts.
        if choose_backend() != "jax" or FOLDER_VARIABLE in os.environ:
            return
        try:
            place = default_folder()
            new = not place.exists()
            compile_cache(place)
        except InputError as error:
            stderr().print(f"warning: {error} JAX compiles anew in every run.")
            return
        if new:
            stderr().print(
                f"JAX keeps what it compiles in {place} (at most {MAX_BYTES >> 30} GiB), so that "
                f"the next run need not wait for it; --compile-cache {OFF} keeps nothing."
            )
