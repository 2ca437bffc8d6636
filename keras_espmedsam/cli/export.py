"""`espmedsam export`: a preset for other runtimes."""

from pathlib import Path
from typing import Annotated

import typer

from keras_espmedsam._startup import import_tensorflow
from keras_espmedsam.cli.compile_cache import CompileCache, keep_compiled
from keras_espmedsam.cli.console import errors_reported, stderr
from keras_espmedsam.cli.loading import load_task
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.load_models import check_name as check_preset
from keras_espmedsam.registries.export_formats import export_formats


def export(
    format: Annotated[
        str,
        typer.Option(
            help="saved_model, tflite, onnx, openvino, or one that another package adds.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            help="What to write: a folder, or a file whose name ends in .tflite, .onnx or .xml.",
            show_default=False,
        ),
    ],
    preset: Annotated[
        str, typer.Option(help="A built-in preset, a folder, hf://... or kaggle://...")
    ] = "espmedsam_nano_256",
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar="HEIGHT WIDTH",
            help="Size of the images in pixels, multiples of 32; without it the preset's own.",
            show_default=False,
        ),
    ] = None,
    any_size: Annotated[
        bool, typer.Option("--any-size", help="Leave the size open; TFLite cannot.")
    ] = False,
    modality: Annotated[
        str | None,
        typer.Option(
            help="Export this modality alone: smaller, and without a modality as an input.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[str, typer.Option(help="float32, float16 or int8.")] = "float32",
    flavor: Annotated[
        str,
        typer.Option(
            help="images: uint8 images in, masks and probabilities out. logits: normalised "
            "float32 in, logits out."
        ),
    ] = "images",
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Images per call; without it open, of TFLite 1.", show_default=False
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="INDEX.csv",
            help="For int8: images with masks, whose val split chooses its ranges and measures "
            "what it costs.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there already.")
    ] = False,
    compile_cache: CompileCache = None,
) -> None:
    """Write a preset for another runtime, run it there and compare it with the Keras model.

    TensorFlow does the writing, also where Keras runs on another backend. An artefact that differs
    from the model is not kept. The JSON file beside it says how it is fed.

    Exit code: 0, done; 2, wrong usage, or nothing was kept.

    \b
    Examples:
      espmedsam export --format onnx --output eye.onnx --modality fundus
      espmedsam export --format tflite --output phone.tflite --precision float16
      espmedsam evaluate --preset eye.onnx --data INDEX.csv --dataset drive
    """
    with errors_reported():
        if any_size and size:
            raise InputError("Received both --size and --any-size; give one of them.")
        export_formats.check(format)
        check_preset(preset)
        keep_compiled(compile_cache)
        task = load_task(preset)
        import_tensorflow()  # What writes and what compares would, and not quietly.
        console = stderr()
        with console.status(f"Writing {output}"):
            done = task.export_for(
                format,
                output,
                size="any" if any_size else size,
                modality=modality,
                precision=precision,
                flavor=flavor,
                batch_size=batch_size,
                calibration=calibration,
                overwrite=overwrite,
                preset=preset,
                report=console.print,
            )
    typer.echo(done["path"])
