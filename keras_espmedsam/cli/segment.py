"""`espmedsam segment`: images in, masks out."""

import contextlib
import math
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from keras_espmedsam.cli.console import (
    INTENSITY_OPTION,
    NOTHING_DONE,
    SOME_FAILED,
    Notices,
    errors_reported,
    print_error,
    progress_bar,
    stderr,
)
from keras_espmedsam.cli.inputs import Inputs, expand_inputs, unique_names
from keras_espmedsam.cli.loading import (
    DEFAULT_PRESET,
    check_modality,
    check_preset,
    load_recognizer,
    load_segmenter,
    prepare_for,
)
from keras_espmedsam.data.formats.unread import described
from keras_espmedsam.data.images import MAX_PIXELS, inspect_image_file
from keras_espmedsam.errors import InputError, NoImageError
from keras_espmedsam.imaging.intensity import AUTO as AUTO_INTENSITY
from keras_espmedsam.imaging.intensity import parse_intensity
from keras_espmedsam.inference.recognition import AUTO, DEFAULT_RECOGNIZER, Recognition, shown
from keras_espmedsam.inference.recognize_files import FileRecognizer, basis
from keras_espmedsam.inference.segment_files import Job, segment_files


def segment(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE",
            help="PNG, JPEG, TIFF, DICOM or NIfTI files, folders of them, or quoted patterns.",
            show_default=False,
        ),
    ],
    modality: Annotated[
        str,
        typer.Option(
            help="What kind of images these are, such as fundus or xray; auto recognises it "
            "for each file. A wrong name lists those the preset knows.",
        ),
    ] = AUTO,
    preset: Annotated[
        str, typer.Option(help="A built-in preset, a folder, hf://... or kaggle://...")
    ] = DEFAULT_PRESET,
    recognizer: Annotated[
        str, typer.Option(metavar="PRESET", help="What recognises with --modality auto.")
    ] = DEFAULT_RECOGNIZER,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("masks"),
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also write the image with its mask drawn on it.")
    ] = False,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Foreground is a probability of at least this.")
    ] = 0.5,
    mirror: Annotated[
        bool,
        typer.Option(
            "--mirror", help="Average with what the mirrored image gives; twice the time."
        ),
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images segmented at a time.")] = 8,
    max_pixels: Annotated[
        int,
        typer.Option(min=1, help="The most pixels (width x height) that one image may have."),
    ] = MAX_PIXELS,
    intensity: Annotated[str | None, INTENSITY_OPTION] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that exist already.")
    ] = False,
) -> None:
    """Segment images, and write a mask of the same size for each.

    Writes OUTPUT/STEM_mask.png (0 and 255) and, with --overlay, OUTPUT/STEM_overlay.png. Equal
    stems get their folder's name in front. Of a NIfTI file the mask is one NIfTI file (0 and 1)
    with its shape and affine; of a DICOM, TIFF or animated file with several images there is one
    mask for each (STEM_frame1_mask.png). Nothing of a DICOM header is written anywhere.

    What is left out of folders, how black and white were found where nothing in a file tells, and
    what a file is recognised as, with how sure that is (0 to 1), is printed on stderr; of several
    images in a file, the mean over five decides. A file that is not recognised surely enough is
    left out and counts as failed.

    TIFF, DICOM and NIfTI need the extra "medical". The masks' paths are printed on stdout.

    Exit code: 0, all done; 1, some files failed; 2, wrong usage or nothing done.

    \b
    Examples:
      espmedsam segment eye.png --overlay
      espmedsam segment scans/ "more/**/*.dcm" --modality xray --output results
      espmedsam segment skin.jpg --modality dermoscopy --preset ./my_preset --threshold 0.3
    """
    with errors_reported():
        if math.isnan(threshold):  # passes the range check of the option
            raise InputError("Received the threshold nan; expected a number from 0 to 1.")
        said = parse_intensity(intensity, "--intensity")
        inputs = expand_inputs(images, output)
        jobs, no_images = _inspected(inputs, output, overlay, max_pixels)
        _tell_left_out(inputs, no_images)
        paths = [path for path in inputs.files if path not in no_images]
        if not jobs:
            raise InputError("None of the files can be read, so nothing was done.")
        _check_outputs(jobs, paths, output, overwrite)
        count = sum(job.file.count for job in jobs)
        segmenter, file_recognizer = _loaded(preset, modality, recognizer, batch_size, count)
        if not file_recognizer:
            for job in jobs:
                job.modality = modality
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"The folder {output} cannot be made: {error.strerror}.") from error
        with progress_bar() as bar:
            notices = Notices(bar.console)
            task = bar.add_task("Segmenting", total=count)
            completed = segment_files(
                segmenter,
                jobs,
                threshold,
                mirror,
                batch_size,
                on_failure=lambda job, error: print_error(error, bar.console),
                progress=lambda count: bar.advance(task, count),
                recognizer=file_recognizer,
                on_recognition=lambda job, found: bar.console.print(_recognized(job, found)),
                intensity=said or getattr(segmenter, "intensity", AUTO_INTENSITY),
                on_notice=lambda job, notice: notices.add(job.file.path, notice),
            )
            notices.end()
    for job in completed:
        for path in job.mask_paths():
            typer.echo(path)
    failures = len(paths) - len(completed)
    stderr().print(
        f"{len(completed)} of {len(paths)} files segmented into {output}"
        + (f"; {failures} failed." if failures else ".")
    )
    if failures:
        raise typer.Exit(SOME_FAILED if completed else NOTHING_DONE)


def _loaded(preset, modality, recognizer, batch_size, count):
    """The segmenter, and what recognises files or None; a wrong name of either is told first."""
    check_preset(preset)
    if modality != AUTO:
        segmenter = load_segmenter(preset)
        check_modality(modality, segmenter)
        prepare_for(count, segmenter)
        return segmenter, None
    with _can_be_spared():
        check_preset(recognizer)
    segmenter = load_segmenter(preset)
    with _can_be_spared():
        classifier = load_recognizer(recognizer)
    prepare_for(count, segmenter, classifier)
    return segmenter, FileRecognizer(classifier, segmenter.modalities, batch_size)


@contextlib.contextmanager
def _can_be_spared():
    try:
        yield
    except InputError as error:
        raise InputError(f"{error} With --modality no recogniser is needed.") from error


def _recognized(job: Job, found: Recognition) -> str:
    how_sure = ", ".join(filter(None, (shown(found.confidence), basis(job.file))))
    return f"{job.file.path}: {found.modality} ({how_sure})"


def _inspected(
    inputs: Inputs, output: Path, overlay: bool, max_pixels: int
) -> tuple[list[Job], dict[Path, str]]:
    """The files that can be read, and those of folders that are sound and hold no image."""
    jobs, no_images = [], {}
    # Named before it is known which can be read: the names do not depend on the bad files.
    for path, name in zip(inputs.files, unique_names(inputs.files), strict=True):
        try:
            file = inspect_image_file(path, max_pixels)
        except InputError as error:
            if isinstance(error, NoImageError) and path in inputs.in_folders:
                no_images[path] = error.kind
            else:
                print_error(error)
        else:
            jobs.append(Job(file, name, output, overlay))
    return jobs, no_images


def _tell_left_out(inputs: Inputs, no_images: dict[Path, str]) -> None:
    if inputs.results:
        files = "file" if inputs.results == 1 else "files"
        stderr().print(f"Left out {inputs.results} {files} of folders, named *_mask or *_overlay.")
    for left_out, why in (
        (inputs.unread, "in formats that are not read"),
        (no_images, "that hold no image"),
    ):
        if left_out:
            files = "file" if len(left_out) == 1 else "files"
            stderr().print(
                f"Left out {len(left_out)} {files} of folders {why} ({described(left_out)})."
            )


def _check_outputs(jobs, inputs, output, overwrite):
    if output.exists() and not output.is_dir():
        raise InputError(f"The output {output} is a file; expected a folder.")
    planned = [path for job in jobs for path in job.paths()]
    count = Counter(str(path).casefold() for path in planned)
    twice = [path for path in planned if count[str(path).casefold()] > 1]
    if twice:
        raise InputError(
            f"Two inputs would both be written to {twice[0]}; segment them one by one, with "
            "different --output folders."
        )
    sources = {path.resolve() for path in inputs}
    clash = next((path for path in planned if path.resolve() in sources), None)
    if clash:
        raise InputError(
            f"The result {clash} would replace an input of that name; choose another --output."
        )
    existing = [str(path) for path in planned if path.exists()]
    if existing and not overwrite:
        more = f" and {len(existing) - 3} more" if len(existing) > 3 else ""
        raise InputError(
            f"These results exist already: {', '.join(existing[:3])}{more}. Choose another "
            "--output, or give --overwrite to replace them."
        )
