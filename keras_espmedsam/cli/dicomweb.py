"""`espmedsam dicomweb`: images of a DICOM archive in, segmentations out."""

from pathlib import Path
from typing import Annotated

import typer

from keras_espmedsam._shown import shown_value
from keras_espmedsam.archive import DicomWebArchive, segment_archive
from keras_espmedsam.cli.archive_options import file_segmenter
from keras_espmedsam.cli.console import (
    NOTHING_DONE,
    SOME_FAILED,
    errors_reported,
    print_error,
    print_path,
    progress_bar,
    stderr,
)
from keras_espmedsam.cli.loading import DEFAULT_PRESET
from keras_espmedsam.cli.thresholds import THRESHOLD_OPTION
from keras_espmedsam.cli.token_file import read_token
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.recognition import DEFAULT_RECOGNIZER

TOKEN_VARIABLE = "ESPMEDSAM_DICOMWEB_TOKEN"
"""The environment variable that holds the archive's token."""


def dicomweb(
    url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="The DICOMweb service, such as https://pacs.example/dicom-web.",
            show_default=False,
        ),
    ],
    study: Annotated[
        str | None,
        typer.Option(metavar="UID", help="The Study Instance UID.", show_default=False),
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(metavar="UID", help="Only this series of the study.", show_default=False),
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Only images that match, such as Modality=US; repeat it for several. Without "
            "--study it chooses studies, such as StudyDate=20260101-20260131.",
            show_default=False,
        ),
    ] = None,
    store: Annotated[
        bool, typer.Option("--store", help="Store the results in the archive.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results, named after the UIDs of their images.",
            show_default=False,
        ),
    ] = None,
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
    dicom_sr: Annotated[
        bool, typer.Option("--dicom-sr", help="Also a report of the areas.")
    ] = False,
    dicom_probabilities: Annotated[
        bool, typer.Option("--dicom-probabilities", help="Probabilities instead of masks.")
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A file with the token that the archive asks for (Authorization: Bearer TOKEN). "
            f"Or set the environment variable {TOKEN_VARIABLE}.",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="The time that the archive may take for an answer.")
    ] = 60,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that exist in --output.")
    ] = False,
) -> None:
    """Segment the images of a DICOM archive over DICOMweb, and store the results in it.

    Finds images (QIDO-RS), fetches them (WADO-RS), and stores a DICOM Segmentation of each
    (STOW-RS) with --store; --output keeps them in a folder, with the masks. These objects name the
    patient, as DICOM demands. Needs the extra "dicom".

    Nothing is stored twice: the same image, model and options give objects with the same UIDs, and
    images whose objects the archive has already are passed over. Requests to a busy archive are
    repeated. An image that fails is named by its UID, and the others are done.

    Exit code: 0, all done; 1, some images failed; 2, wrong usage or nothing done; 130 or 143,
    interrupted.

    \b
    Examples:
      espmedsam dicomweb --url https://pacs.example/dicom-web --study 1.2.3 --store
      espmedsam dicomweb --url https://pacs.example/dicom-web --query Modality=US --output out
    """
    counts = {"done": 0, "there": 0, "no_image": 0, "failed": 0}

    def done() -> str:
        return f"{counts['done']} images are done; the same command goes on with the others."

    with errors_reported(done):
        if output is None and not store:
            raise InputError(
                "Received neither --output nor --store; give a folder for the results, or let the "
                "archive store them."
            )
        filters = _filters(query)
        if study is None and (series is not None or not filters):
            raise InputError(
                "Received no --study; give its UID, or choose studies by --query, such as "
                "--query StudyDate=20260102."
            )
        archive = DicomWebArchive(url, read_token(token_file, TOKEN_VARIABLE), seconds)
        instances = [one for one in archive.find(study, series, filters) if one.may_be_image]
        if not instances:
            raise InputError("The archive has no such images; check --study, --series and --query.")
        segmenter = file_segmenter(
            *(preset, recognizer, modality, target, threshold),
            *(True, dicom_sr, dicom_probabilities),
        )
        with progress_bar() as bar:
            task = bar.add_task("Segmenting", total=len(instances))
            for outcome in segment_archive(archive, instances, segmenter, output, store, overwrite):
                bar.advance(task)
                for path in outcome.written:
                    print_path(path)
                if outcome.error is not None:
                    print_error(f"{outcome.instance.uid}: {outcome.error}", bar.console)
                counts[outcome.state] += 1
    stderr().print(
        f"{counts['done']} of {len(instances)} images segmented; {counts['there']} were done "
        f"already, {counts['no_image']} hold no image, {counts['failed']} failed."
    )
    if counts["failed"]:
        raise typer.Exit(SOME_FAILED if counts["done"] or counts["there"] else NOTHING_DONE)


def _filters(query: list[str] | None) -> dict[str, str]:
    filters = {}
    for one in query or []:
        key, equals, value = one.partition("=")
        if not key.isalnum() or not equals or not value:
            raise InputError(
                f"Received --query {shown_value(one)}; expected KEY=VALUE with a keyword of DICOM, "
                "such as Modality=US."
            )
        filters[key] = value
    return filters
