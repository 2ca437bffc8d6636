"""The options of commands that write DICOM objects."""

from collections.abc import Mapping
from typing import Any

import typer

from keras_espmedsam.errors import InputError
from keras_espmedsam.inference import DicomOptions, model_identity

SEG_OPTION = typer.Option(
    "--dicom-seg",
    help="Also write a DICOM Segmentation of each DICOM image (STEM_seg.dcm). It copies the "
    "identity of patient and study from the image.",
)
SR_OPTION = typer.Option(
    "--dicom-sr",
    help="The same, and a DICOM report of the areas (STEM_sr.dcm), in mm2 where the image tells "
    "the size of its pixels.",
)
PROBABILITIES_OPTION = typer.Option(
    "--dicom-probabilities", help="The same as --dicom-seg, with probabilities instead of masks."
)


def dicom_options(
    preset: str,
    segmentation: bool,
    report: bool,
    probabilities: bool,
    options: Mapping[str, Any],
    set_aside: bool = False,
) -> DicomOptions | None:
    """Return which DICOM objects are asked for, or None.

    Args:
        preset: the model's name or path.
        segmentation, report, probabilities: `--dicom-seg`, `--dicom-sr`, `--dicom-probabilities`.
        options: what masks depend on, as given.
        set_aside: whether images are set aside.

    Raises:
        InputError: with images that are set aside.
    """
    if not (segmentation or report or probabilities):
        return None
    if set_aside:
        raise InputError(
            "Received --dicom-seg, --dicom-sr or --dicom-probabilities with --min-quality or "
            "--only-in-scope; a DICOM object holds all frames of its image, so leave one of the "
            "two out."
        )
    given = {name: value for name, value in options.items() if value}
    return DicomOptions(model_identity(preset, given), report, probabilities)
