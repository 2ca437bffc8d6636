"""`espmedsam convert`: published checkpoints into presets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from keras_espmedsam.cli.console import errors_reported, stderr
from keras_espmedsam.cli.loading import import_segmenter_class

app = typer.Typer(no_args_is_help=True, help="Make a preset from published checkpoints.")

_Output = Annotated[
    Path, typer.Option(metavar="DIR", help="New or empty folder.", show_default=False)
]


@app.command()
def espmedsam(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(
            metavar="CHECKPOINT",
            help="Released ESP-MedSAM checkpoints: .pth, .pt or .safetensors.",
            show_default=False,
        ),
    ],
    modality: Annotated[
        list[str],
        typer.Option(
            help="The modality of a checkpoint; once per checkpoint, in the same order.",
            show_default=False,
        ),
    ],
    output: _Output,
    resize_mode: Annotated[
        str,
        typer.Option(
            help="stretch or pad: how pictures are brought to 1024 x 1024. Which of them the "
            "released weights saw is unpublished."
        ),
    ] = "stretch",
) -> None:
    """Make a preset from released ESP-MedSAM checkpoints.

    One checkpoint gives a preset of one modality. Several are merged into one universal preset
    when their shared parts agree, and are refused when not. Checkpoints are never unpickled
    unsafely: a file that would run code is refused.

    \b
    Examples:
      espmedsam convert espmedsam fundus.pth --modality fundus --output presets/fundus
      espmedsam convert espmedsam a.pth b.pth --modality fundus --modality xray --output both
    """
    with errors_reported():
        import_segmenter_class()
        from keras_espmedsam.checkpoints import convert_espmedsam

        with stderr().status("Converting"):
            messages = convert_espmedsam(checkpoints, modality, output, resize_mode)
    _report(messages)


@app.command()
def mobilesam(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            help="MobileSAM's mobile_sam.pt, or a .safetensors file of it.",
            show_default=False,
        ),
    ],
    output: _Output,
) -> None:
    """Make a preset to train from: encoder and decoder transformer from MobileSAM.

    \b
    Example:
      espmedsam convert mobilesam mobile_sam.pt --output presets/from_mobilesam
    """
    with errors_reported():
        import_segmenter_class()
        from keras_espmedsam.checkpoints import convert_mobilesam

        with stderr().status("Converting"):
            messages = convert_mobilesam(checkpoint, output)
    _report(messages)


def _report(messages: Sequence[str]) -> None:
    for message in messages:
        typer.echo(message)
