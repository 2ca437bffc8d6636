"""`espmedsam presets`: list the presets."""

import re
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.markdown import Markdown
from rich.table import Table

from keras_espmedsam._shown import printable, shown
from keras_espmedsam.cli.console import errors_reported, stdout
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.built_in_presets import (
    builtin_presets,
    read_card,
    resolve_preset,
    weights_are_elsewhere,
)
from keras_espmedsam.hub.checksums import CHECKSUMS_FILE, check_checksums, unlisted_files


def presets(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Show the card of this built-in preset or folder."),
    ] = None,
) -> None:
    """List the built-in presets, or show the card of one.

    A name stands for the newest version; NAME@VERSION, such as espmedsam_nano_256@1, for the one
    that you name, with the same results as before. Your own presets, from `espmedsam train` or
    `espmedsam convert`, are folders. Before a card is shown, the preset's files are compared with
    their checksums.

    Exit code: 0, done; 2, an unknown or damaged preset.

    \b
    Examples:
      espmedsam presets
      espmedsam presets espmedsam_nano_256
      espmedsam segment eye.png --modality fundus --preset espmedsam_nano_256
    """
    with errors_reported():
        if name is not None:
            _show_card(name)
            return
        known = builtin_presets(earlier=True)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("preset", no_wrap=True)
    table.add_column("version", justify="right", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("weights", no_wrap=True)
    table.add_column("description")
    for name, entry in known.items():
        metadata = entry["metadata"]
        params = metadata.get("params")
        table.add_row(
            name,
            str(entry["version"]),
            f"{params:,}" if params else "",
            "yes" if entry.get("weights", True) else "no",
            metadata.get("description", ""),
        )
    stdout().print(table)


def _show_card(name):
    path = resolve_preset(name, load_weights=False)
    if "://" in path:
        raise InputError(
            f"Received {name}, a preset on a hub; its card is on its page there. Give a built-in "
            "name or a folder."
        )
    folder = Path(path)
    check_checksums(folder, weights=not weights_are_elsewhere(folder))
    text = read_card(folder)
    if text is None:
        raise InputError(f"The preset {name} has no card: {folder} holds no README.md.")
    # Leave out the front matter that hubs read, and terminal control characters.
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = "\n".join(map(printable, text.expandtabs(4).split("\n")))
    # Show a link's address instead of hiding it behind its text.
    stdout().print(Markdown(text, hyperlinks=False))
    stdout().print(_told_of_checksums(folder))


def _told_of_checksums(folder):
    if not (folder / CHECKSUMS_FILE).is_file():
        return f"Checksums: no {CHECKSUMS_FILE}."
    unlisted = unlisted_files(folder)
    if unlisted:
        return f"Checksums: correct, but not listed for {', '.join(map(shown, unlisted[:8]))}."
    return "Checksums: correct."
