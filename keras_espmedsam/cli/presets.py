"""`espmedsam presets`: which presets there are."""

from rich import box
from rich.table import Table

from keras_espmedsam.cli.console import errors_reported, stdout
from keras_espmedsam.preset_registry import builtin_presets


def presets() -> None:
    """List the built-in presets.

    A preset of your own is a folder; so are those that `espmedsam convert` makes.

    \b
    Examples:
      espmedsam presets
      espmedsam segment eye.png --modality fundus --preset espmedsam_nano_256
    """
    with errors_reported():
        known = builtin_presets()
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("preset", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("weights", no_wrap=True)
    table.add_column("description")
    for name, entry in known.items():
        metadata = entry["metadata"]
        params = metadata.get("params")
        table.add_row(
            name,
            f"{params:,}" if params else "",
            "yes" if entry.get("weights", True) else "no",
            metadata.get("description", ""),
        )
    stdout().print(table)
