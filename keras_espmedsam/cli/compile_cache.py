"""`--compile-cache`, an option of every command that starts Keras."""

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
        help="Folder where JAX stores compiled code, so that the next run starts faster; "
        f"{OFF}: store nothing. Default: a folder in your cache.",
        show_default=False,
    ),
]


def keep_compiled(folder: str | None) -> None:
    """Let JAX store compiled code; call this before Keras starts.

    The option and JAX's own environment variable are obeyed. Without either, a folder in the
    user's cache is used, with a message when it is created; if it cannot be written, a warning is
    printed and nothing is stored.

    Args:
        folder: the value of `--compile-cache`, or `None` if it was not given.

    Raises:
        InputError: when the given folder cannot be used.
    """
    if folder is not None:
        compile_cache(folder)
        return
    with contextlib.suppress(ImportError):  # No backend: reported when Keras starts.
        if choose_backend() != "jax" or FOLDER_VARIABLE in os.environ:
            return
        try:
            place = default_folder()
            new = not place.exists()
            compile_cache(place)
        except InputError as error:
            stderr().print(f"warning: {error} JAX will compile again in every run.")
            return
        if new:
            stderr().print(
                f"JAX stores compiled code in {place} (at most {MAX_BYTES >> 30} GiB), so that "
                f"the next run starts faster; --compile-cache {OFF} stores nothing."
            )
