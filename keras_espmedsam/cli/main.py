"""The command `espmedsam`."""

import gc

import typer

from keras_espmedsam.cli import convert
from keras_espmedsam.cli.add_modality import add_modality
from keras_espmedsam.cli.distill import distill
from keras_espmedsam.cli.evaluate import evaluate
from keras_espmedsam.cli.export import export
from keras_espmedsam.cli.presets import presets
from keras_espmedsam.cli.segment import segment
from keras_espmedsam.cli.train import train

app = typer.Typer(
    name="espmedsam",
    help="Segment medical images of six modalities with ESP-MedSAM. For research use only.",
    no_args_is_help=True,
    # A traceback with local variables could show what a DICOM header holds.
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)
app.command()(segment)
app.command()(evaluate)
app.command()(presets)
app.command()(train)
app.command()(distill)
app.command()(add_modality)
app.command()(export)
app.add_typer(convert.app, name="convert")


def main() -> None:
    """Run the command line.

    Source: ours.
    """
    try:
        app(prog_name="espmedsam")
    finally:
        # Or Python looks for garbage in all of Keras, for a second, before it ends.
        gc.freeze()


if __name__ == "__main__":
    main()
