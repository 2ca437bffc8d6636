"""The command `espmedsam` and its subcommands."""

import typer

from keras_espmedsam.cli import convert
from keras_espmedsam.cli.add_modality import add_modality
from keras_espmedsam.cli.add_target import add_target
from keras_espmedsam.cli.calibrate import calibrate
from keras_espmedsam.cli.command import Command
from keras_espmedsam.cli.dicomweb import dicomweb
from keras_espmedsam.cli.distill import distill
from keras_espmedsam.cli.doctor import doctor
from keras_espmedsam.cli.evaluate import evaluate
from keras_espmedsam.cli.export import export
from keras_espmedsam.cli.presets import presets
from keras_espmedsam.cli.segment import segment
from keras_espmedsam.cli.serve import serve
from keras_espmedsam.cli.train import train
from keras_espmedsam.cli.watch import watch

app = typer.Typer(
    name="espmedsam",
    help="Segment medical images of six modalities with ESP-MedSAM. For research use only.",
    no_args_is_help=True,
    # A traceback with local variables could show what a DICOM header holds.
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)
for _command in (
    *(segment, evaluate, calibrate, presets, train, distill),
    *(add_modality, add_target, export, serve, dicomweb, watch, doctor),
):
    app.command(cls=Command)(_command)
app.add_typer(convert.app, name="convert")
