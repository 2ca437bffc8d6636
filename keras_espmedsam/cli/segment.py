"""`espmedsam segment`: images in, masks out."""

import contextlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_espmedsam.cli.compile_cache import CompileCache, keep_compiled
from keras_espmedsam.cli.console import (
    INTENSITY_OPTION,
    NOTHING_DONE,
    PRECISION_OPTION,
    SOME_FAILED,
    Notices,
    errors_reported,
    print_error,
    print_path,
    progress_bar,
    stderr,
)
from keras_espmedsam.cli.loading import (
    DEFAULT_PRESET,
    TRUST_OPTION,
    compile_notice,
    load_recognizer,
    load_segmenter,
    prepare_for,
)
from keras_espmedsam.data.formats.unread import described
from keras_espmedsam.data.images import MAX_PIXELS, ImageFile, inspect_image_file
from keras_espmedsam.errors import InputError, NoImageError
from keras_espmedsam.imaging.intensity import parse_intensity
from keras_espmedsam.inference import FileResult, ResultWriter, expand_inputs, segment_files
from keras_espmedsam.inference.input_files import Inputs
from keras_espmedsam.inference.load_models import check_name as check_preset
from keras_espmedsam.inference.recognition import AUTO, DEFAULT_RECOGNIZER, shown
from keras_espmedsam.inference.recognize_files import basis


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
    precision: Annotated[str | None, PRECISION_OPTION] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that exist already.")
    ] = False,
    trust: Annotated[bool, TRUST_OPTION] = False,
    compile_cache: CompileCache = None,
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

    Exit code: 0, all done; 1, some files failed; 2, wrong usage or nothing done; 130 and
    143, interrupted.

    \b
    Examples:
      espmedsam segment eye.png --overlay
      espmedsam segment scans/ "more/**/*.dcm" --modality xray --output results
      espmedsam segment skin.jpg --modality dermoscopy --preset ./my_preset --threshold 0.3
    """
    masks: dict[Path, list[Path]] = {}
    inputs = Inputs([])
    no_images: dict[Path, str] = {}

    def done() -> str:
        of = f"{len(masks)} of {len(inputs.files) - len(no_images)} files are segmented"
        return f"{of} into {output}; nothing of the others is half-written."

    with _listed(masks), errors_reported(done):
        if math.isnan(threshold):  # passes the range check of the option
            raise InputError("Received the threshold nan; expected a number from 0 to 1.")
        said = parse_intensity(intensity, "--intensity")
        check_preset(preset, precision)  # Not after the files, which may be many.
        inputs = expand_inputs(images, output)
        writer = ResultWriter(output, inputs.files, overlay, overwrite)
        files, no_images = _inspected(inputs, max_pixels)
        _tell_left_out(inputs, no_images)
        if not files:
            raise InputError("None of the files can be read, so nothing was done.")
        writer.check(files)
        count = sum(file.count for file in files)
        keep_compiled(compile_cache)
        segmenter, classifier = _loaded(preset, modality, recognizer, count, precision, trust)
        results = segment_files(
            segmenter,
            files,
            modality,
            recognizer=classifier,
            threshold=threshold,
            batch_size=batch_size,
            mirror=mirror,
            intensity=said,
        )
        writer.make_folder()
        _write(results, writer, count, segmenter, masks)
    failures = len(inputs.files) - len(no_images) - len(masks)
    stderr().print(
        f"{len(masks)} of {len(masks) + failures} files segmented into {output}"
        + (f"; {failures} failed." if failures else ".")
    )
    if failures:
        raise typer.Exit(SOME_FAILED if masks else NOTHING_DONE)


@contextlib.contextmanager
def _listed(masks: dict[Path, list[Path]]) -> Iterator[None]:
    """In the end, whatever it is, print the paths of the masks on stdout, one on a line."""
    try:
        yield
    finally:
        for path in (path for written in masks.values() for path in written):
            print_path(path)


def _write(
    results: Iterable[FileResult],
    writer: ResultWriter,
    count: int,
    segmenter: Any,
    masks: dict[Path, list[Path]],
) -> None:
    """Write and tell results as they come; note the masks of each file that is done as a whole."""
    failed: set[Path] = set()
    begun: dict[Path, list[Path]] = {}
    with progress_bar() as bar, compile_notice(segmenter, bar.console.print) as first:
        notices = Notices(bar.console)
        task = bar.add_task("Segmenting", total=count)
        for result in results:
            first.end()
            bar.advance(task, result.count - (result.index or 0) if result.error else 1)
            if result.path in failed:
                continue
            if result.index == 0 and result.confidence is not None:
                bar.console.print(_recognized(result))
            for notice in result.notices:
                notices.add(result.path, notice)
            try:
                if result.error is not None:
                    raise result.error
                begun.setdefault(result.path, []).extend(writer.write(result))
                if result.index == result.count - 1:
                    masks[result.path] = begun.pop(result.path)
            except InputError as error:
                failed.add(result.path)
                begun.pop(result.path, None)
                print_error(error, bar.console)
        notices.end()


def _loaded(preset, modality, recognizer, count, precision, trust):
    """The segmenter and what recognises files, if any; wrong names are told before Keras starts."""
    if modality != AUTO:
        segmenter = load_segmenter(preset, precision, trust)
        prepare_for(count, segmenter)
        return segmenter, None
    with _can_be_spared():
        check_preset(recognizer)
    segmenter = load_segmenter(preset, precision, trust)
    with _can_be_spared():
        classifier = load_recognizer(recognizer)
    prepare_for(count, segmenter, classifier)
    return segmenter, classifier


@contextlib.contextmanager
def _can_be_spared():
    try:
        yield
    except InputError as error:
        raise InputError(f"{error} With --modality no recogniser is needed.") from error


def _recognized(result: FileResult) -> str:
    assert result.confidence is not None and result.file is not None  # It was recognised.
    how_sure = ", ".join(filter(None, (shown(result.confidence), basis(result.file))))
    return f"{result.path}: {result.modality} ({how_sure})"


def _inspected(inputs: Inputs, max_pixels: int) -> tuple[list[ImageFile], dict[Path, str]]:
    """The files that can be read, and those of folders that are sound and hold no image."""
    files, no_images = [], {}
    for path in inputs.files:
        try:
            files.append(inspect_image_file(path, max_pixels))
        except InputError as error:
            if isinstance(error, NoImageError) and path in inputs.in_folders:
                no_images[path] = error.kind
            else:
                print_error(error)
    return files, no_images


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
