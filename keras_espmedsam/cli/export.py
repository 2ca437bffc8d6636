"""`espmedsam export`: write a preset for another runtime."""

from pathlib import Path
from typing import Annotated

import typer

from keras_espmedsam._startup import import_tensorflow
from keras_espmedsam.cli.compile_cache import CompileCache, keep_compiled
from keras_espmedsam.cli.console import errors_reported, stderr
from keras_espmedsam.cli.interruption import check_interrupted
from keras_espmedsam.cli.loading import load_task
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.load_models import check_name as check_preset
from keras_espmedsam.registries.export_formats import export_formats


def export(
    format: Annotated[
        str,
        typer.Option(
            help="saved_model, tflite, onnx, openvino, web (a page for browsers), or a format from "
            "an installed package.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Where to write: a folder for saved_model and web, else a file that ends in "
            ".tflite, .onnx or .xml.",
            show_default=False,
        ),
    ] = None,
    preset: Annotated[
        str, typer.Option(help="A built-in preset, a folder, hf://... or kaggle://...")
    ] = "espmedsam_nano_256",
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar="HEIGHT WIDTH",
            help="Image size in pixels, multiples of 32. Default: the preset's.",
            show_default=False,
        ),
    ] = None,
    any_size: Annotated[
        bool, typer.Option("--any-size", help="Accept images of any size; not for tflite.")
    ] = False,
    modality: Annotated[
        str | None,
        typer.Option(
            help="Export only this modality: smaller, and the modality is no longer an input.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Data type of the stored weights: float32, float16 or int8.")
    ] = "float32",
    flavor: Annotated[
        str,
        typer.Option(
            help="What goes in and comes out. images: uint8 images in, masks and probabilities "
            "out. logits: normalised float32 images in, logits out."
        ),
    ] = "images",
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Images per call. Default: any number; 1 for tflite.", show_default=False
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="INDEX.csv",
            help="For int8: labelled images; their val split sets the value ranges and measures "
            "the loss in accuracy.",
            show_default=False,
        ),
    ] = None,
    triton: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="In place of --output, for onnx: write a model into this repository of Triton "
            "Inference Server. It takes an image of any size and gives masks of that size.",
            show_default=False,
        ),
    ] = None,
    bioimageio: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.zip",
            help="In place of --output, for onnx: write a package of one modality for the tools of "
            "bioimage.io.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an export that exists already.")
    ] = False,
    compile_cache: CompileCache = None,
) -> None:
    """Write a preset for another runtime, run it there and compare it with the Keras model.

    TensorFlow writes the export, even if Keras runs on another backend. An export whose results
    differ from the Keras model is deleted. The JSON file beside it describes its inputs and
    outputs.

    Exit code: 0, done; 2, wrong usage, or nothing was kept.

    \b
    Examples:
      espmedsam export --format onnx --output eye.onnx --modality fundus
      espmedsam export --format tflite --output phone.tflite --precision float16
      espmedsam export --format onnx --triton model_repository
      espmedsam evaluate --preset eye.onnx --data INDEX.csv --dataset drive
    """
    with errors_reported():
        if any_size and size:
            raise InputError("Received both --size and --any-size; give one of them.")
        export_formats.check(format)
        places = {"--output": output, "--triton": triton, "--bioimageio": bioimageio}
        place = _place(format, places)
        if place != "--output":
            _check_options(place, any_size, flavor, batch_size, calibration)
        check_preset(preset)
        keep_compiled(compile_cache)
        task = load_task(preset)
        import_tensorflow()  # Now, because writers and runtimes would import it less quietly.
        check_interrupted()
        console = stderr()
        options = {
            "modality": modality,
            "precision": precision,
            "overwrite": overwrite,
            "preset": preset,
            "report": console.print,
        }
        with console.status(f"Writing {places[place]}"):
            if triton is not None:
                from keras_espmedsam.export import export_triton

                done = export_triton(task, triton, size=size, **options)
            elif bioimageio is not None:
                from keras_espmedsam.export import export_bioimageio

                done = export_bioimageio(task, bioimageio, size=size, **options)
            else:
                done = task.export_for(
                    format,
                    output,
                    size="any" if any_size else size,
                    flavor=flavor,
                    batch_size=batch_size,
                    calibration=calibration,
                    **options,
                )
    typer.echo(done["path"])


def _place(format, places):
    """Return the one option that says where to write."""
    given = [name for name, path in places.items() if path is not None]
    if len(given) != 1:
        received = f"both {' and '.join(given)}" if given else "no --output"
        raise InputError(
            f"Received {received}; give --output, a file or folder to write, or --triton, a model "
            "repository, or --bioimageio, a package."
        )
    if given[0] != "--output" and format != "onnx":
        raise InputError(f"Received {given[0]} with the format {format}; it is for onnx.")
    return given[0]


def _check_options(place, any_size, flavor, batch_size, calibration):
    given = {
        "--any-size": any_size,
        "--flavor": flavor != "images",
        "--batch-size": batch_size is not None,
        "--calibration": calibration is not None,
    }
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise InputError(
            f"Received {place} with {' and '.join(wrong)}; leave it out: {place} decides about "
            "images and batches, in float32 or float16."
        )
