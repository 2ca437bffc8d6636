"""`espmedsam watch`: files that arrive in a folder in, masks out."""

from pathlib import Path
from typing import Annotated

import typer

from keras_espmedsam.archive import watch_folder
from keras_espmedsam.cli.archive_options import file_segmenter
from keras_espmedsam.cli.console import (
    SOME_FAILED,
    errors_reported,
    print_error,
    print_path,
    stderr,
)
from keras_espmedsam.cli.dicom_options import PROBABILITIES_OPTION, SEG_OPTION, SR_OPTION
from keras_espmedsam.cli.loading import DEFAULT_PRESET
from keras_espmedsam.cli.thresholds import THRESHOLD_OPTION
from keras_espmedsam.inference.recognition import DEFAULT_RECOGNIZER


def watch(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", show_default=False)],
    output: Annotated[Path, typer.Option(help="Folder for the results.", show_default=False)],
    modality: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The kind of images, as for espmedsam segment. Default: recognised for each.",
            show_default=False,
        ),
    ] = None,
    preset: Annotated[
        str, typer.Option(help="A built-in preset, a folder, hf://... or kaggle://...")
    ] = DEFAULT_PRESET,
    recognizer: Annotated[
        str,
        typer.Option(
            metavar="PRESET", help="The preset that recognises the modality where it is needed."
        ),
    ] = DEFAULT_RECOGNIZER,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Only this target; repeat it for several.", show_default=False
        ),
    ] = None,
    threshold: Annotated[list[str] | None, THRESHOLD_OPTION] = None,
    dicom_seg: Annotated[bool, SEG_OPTION] = False,
    dicom_sr: Annotated[bool, SR_OPTION] = False,
    dicom_probabilities: Annotated[bool, PROBABILITIES_OPTION] = False,
    seconds: Annotated[
        float,
        typer.Option(
            min=0.05, help="Time between two looks; a file at rest that long is complete."
        ),
    ] = 2,
    once: Annotated[
        bool, typer.Option("--once", help="End when all files that are there are done.")
    ] = False,
) -> None:
    """Segment the files that arrive in a folder, such as those of a DICOM receiver.

    A file is segmented when its size and time did not change between two looks. Hidden files and
    names that end in .part or .tmp wait until they are renamed. Results lie in OUTPUT, in the same
    subfolders as the files; what is done is noted there in a small file, so that the same command
    goes on where it was stopped. A file that changes is segmented again. The paths of results are
    printed on stdout.

    It runs until Ctrl-C or SIGTERM.

    Exit code: 0 or, if some files failed, 1 with --once; 2, wrong usage; 130 or 143, stopped.

    \b
    Examples:
      espmedsam watch received --output results
      espmedsam watch received --output results --modality ultrasound --dicom-seg --once
    """
    count = {"done": 0, "failed": 0, "skipped": 0}

    def done() -> str:
        return (
            f"{count['done']} files are segmented into {output}; the same command goes on with the "
            "others."
        )

    with errors_reported(done):
        segmenter = file_segmenter(
            *(preset, recognizer, modality, target, threshold),
            *(dicom_seg, dicom_sr, dicom_probabilities),
        )
        stderr().print(f"Watching {folder}.")
        for arrival in watch_folder(folder, output, segmenter, seconds, once):
            count[arrival.state] += 1
            for path in arrival.written:
                print_path(path)
            if arrival.error is not None:
                print_error(arrival.error)
    stderr().print(
        f"{count['done']} files segmented into {output}; {count['failed']} failed, "
        f"{count['skipped']} hold no image."
    )
    if count["failed"]:
        raise typer.Exit(SOME_FAILED)
