"""`espmedsam segment`: images in, masks out."""

import contextlib
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
    SOME_SET_ASIDE,
    Notices,
    errors_reported,
    print_error,
    print_path,
    progress_bar,
    stderr,
)
from keras_espmedsam.cli.dicom_options import (
    PROBABILITIES_OPTION,
    SEG_OPTION,
    SR_OPTION,
    dicom_options,
)
from keras_espmedsam.cli.loading import (
    DEFAULT_PRESET,
    TRUST_OPTION,
    compile_notice,
    load_recognizer,
    load_segmenter,
    prepare_for,
)
from keras_espmedsam.cli.quality_report import SET_ASIDE, QualityReport
from keras_espmedsam.cli.target_summary import TargetSummary
from keras_espmedsam.cli.test_time import MIRROR_OPTION, SCALES_OPTION
from keras_espmedsam.cli.thresholds import THRESHOLD_OPTION, GivenThresholds
from keras_espmedsam.data.formats.unread import described
from keras_espmedsam.data.images import MAX_PIXELS, ImageFile, inspect_image_file
from keras_espmedsam.errors import InputError, NoImageError
from keras_espmedsam.imaging.intensity import parse_intensity
from keras_espmedsam.inference import FileResult, ResultWriter, expand_inputs, segment_files
from keras_espmedsam.inference.chosen_targets import check_used, checked_targets, target_set_of
from keras_espmedsam.inference.guarantees import GUARANTEES, check_guarantee
from keras_espmedsam.inference.input_files import RESULT_NAMES, Inputs
from keras_espmedsam.inference.load_models import check_name as check_preset
from keras_espmedsam.inference.load_models import stored_targets
from keras_espmedsam.inference.modalities import modality_indices
from keras_espmedsam.inference.object_files import POLYGONS
from keras_espmedsam.inference.recognition import AUTO, DEFAULT_RECOGNIZER, shown
from keras_espmedsam.inference.recognize_files import basis
from keras_espmedsam.inference.test_time import parse_scales


def segment(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE",
            help="PNG, JPEG, TIFF, DICOM or NIfTI files, folders with such files, or quoted "
            "patterns.",
            show_default=False,
        ),
    ],
    modality: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The kind of images, such as fundus or xray; auto recognises it for each file. "
            "An unknown name prints the list of valid ones. Default: auto, or the model's "
            "modality if it has only one.",
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
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("masks"),
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Only this target, such as optic_disc; repeat it for several. Default: all that "
            "the model has for the modality.",
            show_default=False,
        ),
    ] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also write the image with its masks drawn on it.")
    ] = False,
    polygons: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(POLYGONS),
            help="Also write the outlines of all objects: geojson for QuPath, one file for each "
            "image (STEM_polygons.geojson); or coco, one file for all (coco.json).",
            show_default=False,
        ),
    ] = None,
    counts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write a CSV table with the number and the areas of each image's objects.",
            show_default=False,
        ),
    ] = None,
    dicom_seg: Annotated[bool, SEG_OPTION] = False,
    dicom_sr: Annotated[bool, SR_OPTION] = False,
    dicom_probabilities: Annotated[bool, PROBABILITIES_OPTION] = False,
    threshold: Annotated[list[str] | None, THRESHOLD_OPTION] = None,
    guarantee: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(GUARANTEES),
            help="Make masks of which this is guaranteed, if espmedsam calibrate has put it into "
            "the preset.",
            show_default=False,
        ),
    ] = None,
    min_quality: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="DICE",
            help="Set aside, in OUTPUT/set_aside, images with a mask whose predicted Dice is less.",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write a CSV table of all masks with their predicted Dice, and whether their "
            "image is in scope.",
            show_default=False,
        ),
    ] = None,
    only_in_scope: Annotated[
        bool,
        typer.Option(
            "--only-in-scope",
            help="Set aside, in OUTPUT/set_aside, images that look unlike their modality.",
        ),
    ] = False,
    no_postprocess: Annotated[
        bool,
        typer.Option(
            "--no-postprocess",
            help="Leave small objects and holes in the masks, where the preset would remove them.",
        ),
    ] = False,
    mirror: Annotated[bool, MIRROR_OPTION] = False,
    scales: Annotated[str | None, SCALES_OPTION] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images segmented at a time.")] = 8,
    max_pixels: Annotated[
        int,
        typer.Option(min=1, help="Maximum pixels (width x height) of one image."),
    ] = MAX_PIXELS,
    intensity: Annotated[str | None, INTENSITY_OPTION] = None,
    precision: Annotated[str | None, PRECISION_OPTION] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that exist already.")
    ] = False,
    trust: Annotated[bool, TRUST_OPTION] = False,
    compile_cache: CompileCache = None,
) -> None:
    """Segment images, and write masks of the same size for each.

    Writes OUTPUT/STEM_mask.png (0 and 255) and, with --overlay, OUTPUT/STEM_overlay.png. If the
    model has several targets for the modality, each has a mask, such as
    OUTPUT/STEM_vessels_mask.png. If it tells a target's objects apart, their label image is
    OUTPUT/STEM_nuclei_instances.png (16 bits; .tiff for more than 65,535 objects). If two files
    have the same stem, the folder's name is put in front. A NIfTI file gives one NIfTI mask
    (0 and 1) with the same shape and affine; a DICOM, TIFF or animated file with several images
    gives one mask for each (STEM_frame1_mask.png).

    Nothing from a DICOM header is written, except by --dicom-seg, --dicom-sr and
    --dicom-probabilities, whose files name the patient as DICOM demands. They need the extra
    "dicom".

    Printed on stderr: which files in folders were skipped, how black and white were chosen if the
    file does not say, and the recognised modality with its confidence (0 to 1). For a file with
    several images, the mean over five of them decides. A file whose modality is too uncertain
    counts as failed.

    For a model with several targets, a table at the end, on stderr, says how much of the images
    each target covers.

    TIFF, DICOM and NIfTI need the extra "medical". The paths of the masks and of the label images
    are printed on stdout.

    Images that look unlike their modality are named on stderr, if the preset tells; their masks are
    written like all others.

    With --min-quality or --only-in-scope, paths of what is set aside are not printed, and its
    objects are not in --counts and --polygons. Slices of a volume share one mask file, which is not
    set aside; the report says which slices are below or unlike.

    Exit code: 0, all done; 1, some files failed; 2, wrong usage or nothing done; 3, all done, but
    some set aside; 130 or 143, interrupted.

    \b
    Examples:
      espmedsam segment eye.png --overlay
      espmedsam segment scans/ "more/**/*.dcm" --modality xray --output results
      espmedsam segment skin.jpg --modality dermoscopy --preset ./my_preset --threshold 0.3
      espmedsam segment eyes/ --target optic_disc --target optic_cup --threshold optic_cup=0.4
      espmedsam segment slides/ --polygons geojson --counts counts.csv
      espmedsam segment chest.dcm --modality xray --dicom-seg
    """
    masks: dict[Path, list[Path]] = {}
    inputs = Inputs([])
    no_images: dict[Path, str] = {}

    def done() -> str:
        of = f"{len(masks)} of {len(inputs.files) - len(no_images)} files are segmented"
        return f"{of} into {output}; no mask is half-written."

    with _listed(masks), errors_reported(done):
        thresholds = GivenThresholds(threshold)
        each_scale = parse_scales(scales)
        if guarantee is not None:
            check_guarantee(guarantee)
            given = {"--threshold": threshold, "--mirror": mirror, "--scales": each_scale}
            against = [name for name, value in given.items() if value]
            if against:
                raise InputError(
                    f"Received --guarantee with {against[0]}; a guarantee holds for its own "
                    "thresholds, without mirroring and at the model's image size, so leave one of "
                    "the two out."
                )
        said = parse_intensity(intensity, "--intensity")
        check_preset(preset, precision)  # Before the files, which may be many.
        known = stored_targets(preset)
        if known is not None:
            _check_targets(known, modality, target, thresholds)
        inputs = expand_inputs(images, output)
        if only_in_scope and each_scale and 1 not in each_scale:
            raise InputError(
                f"Received --only-in-scope with --scales {scales}; the scope is told at the "
                "model's image size, so put 1 among the scales, or leave one of the two out."
            )
        quality = QualityReport(min_quality, report, overwrite, only_in_scope)
        dicom = dicom_options(
            *(preset, dicom_seg, dicom_sr, dicom_probabilities),
            {
                **{"threshold": threshold, "guarantee": guarantee, "mirror": mirror},
                **{"scales": each_scale, "raw": no_postprocess, "intensity": intensity},
            },
            quality.may_set_aside,
        )
        writer = ResultWriter(output, inputs.files, overlay, overwrite, polygons, counts, dicom)
        aside = ResultWriter(output / SET_ASIDE, inputs.files, overlay, overwrite)
        writers = (writer, aside) if quality.may_set_aside else (writer,)
        files, no_images = _inspected(inputs, max_pixels)
        _tell_left_out(inputs, no_images)
        if not files:
            raise InputError("None of the files can be read, so nothing was done.")
        modalities = None if modality in (None, AUTO) else [modality]
        if known is not None:
            for one in writers:
                one.check(files, known, modalities, target or None)
        count = sum(file.count for file in files)
        keep_compiled(compile_cache)
        segmenter, classifier = _loaded(
            preset, modality, recognizer, count, precision, trust, known
        )
        quality.check(segmenter, f"The model {preset}")
        target_set = target_set_of(segmenter)
        results = segment_files(
            segmenter,
            files,
            modality,
            recognizer=classifier,
            threshold=thresholds.of(target_set),
            batch_size=batch_size,
            mirror=mirror,
            scales=each_scale,
            intensity=said,
            targets=target or None,
            postprocess=not no_postprocess,
            guarantee=guarantee,
        )
        if target_set != known:  # An exported model tells its targets when it is loaded.
            for one in writers:
                one.check(files, target_set, modalities, target or None)
        writer.make_folder()
        summary = TargetSummary()
        _write(results, writer, aside, quality, count, segmenter, masks, summary)
        if masks:
            for path in writer.finish():
                stderr().print(f"Written: {path}")
        summary.print(stderr())
        quality.write()
    failures = len(inputs.files) - len(no_images) - len(masks)
    stderr().print(
        f"{len(masks)} of {len(masks) + failures} files segmented into {output}"
        + (f"; {failures} failed." if failures else ".")
    )
    for sentence in quality.sentences():
        stderr().print(sentence)
    if min_quality is not None and guarantee is not None:
        stderr().print("The quality is that of masks at a threshold of 0.5, not the guarantee's.")
    if failures:
        raise typer.Exit(SOME_FAILED if masks else NOTHING_DONE)
    if quality.count:
        raise typer.Exit(SOME_SET_ASIDE)


@contextlib.contextmanager
def _listed(masks: dict[Path, list[Path]]) -> Iterator[None]:
    """At the end, even after an error, print the masks' paths on stdout, one per line."""
    try:
        yield
    finally:
        for path in (path for written in masks.values() for path in written):
            print_path(path)


def _write(
    results: Iterable[FileResult],
    writer: ResultWriter,
    aside: ResultWriter,
    quality: QualityReport,
    count: int,
    segmenter: Any,
    masks: dict[Path, list[Path]],
    summary: TargetSummary,
) -> None:
    """Write and report results as they come; note the masks of each completed file."""
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
                paths = begun.setdefault(result.path, [])
                one_file = result.file is not None and result.file.one_mask_file
                if quality.sets_aside(result) and not one_file:
                    aside.write(result)
                    other = writer
                else:
                    paths += writer.write(result)
                    other = aside
                if other.overwrite and not one_file:
                    other.remove(result)  # Of a run with another --min-quality.
                summary.add(result)
                if result.index == result.count - 1:
                    masks[result.path] = begun.pop(result.path)
            except InputError as error:
                failed.add(result.path)
                begun.pop(result.path, None)
                print_error(error, bar.console)
        notices.end()


def _check_targets(target_set, modality, targets, thresholds):
    """Refuse what does not fit the model before it is loaded."""
    thresholds.of(target_set)
    names = checked_targets(targets or None, target_set)
    if modality not in (None, AUTO):
        modality_indices(target_set.modalities, modality, 1)
        check_used(names, target_set, [modality])


def _loaded(preset, modality, recognizer, count, precision, trust, known):
    """Load the segmenter and the recogniser, if any; wrong names fail before Keras starts."""
    several = known is None or len(known.modalities) > 1
    if modality == AUTO or (modality is None and several):
        with _can_be_spared():
            check_preset(recognizer)
    segmenter, classifier = load_segmenter(preset, precision, trust), None
    if modality == AUTO or (modality is None and len(segmenter.modalities) > 1):
        with _can_be_spared():
            classifier = load_recognizer(recognizer)
    prepare_for(count, *(one for one in (segmenter, classifier) if one is not None))
    return segmenter, classifier


@contextlib.contextmanager
def _can_be_spared():
    try:
        yield
    except InputError as error:
        raise InputError(f"{error} If you give --modality, no recogniser is needed.") from error


def _recognized(result: FileResult) -> str:
    assert result.confidence is not None and result.file is not None  # Recognised files have both.
    how_sure = ", ".join(filter(None, (shown(result.confidence), basis(result.file))))
    return f"{result.path}: {result.modality} ({how_sure})"


def _inspected(inputs: Inputs, max_pixels: int) -> tuple[list[ImageFile], dict[Path, str]]:
    """Return the readable files, and files in folders that are valid but hold no image."""
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
        stderr().print(f"Skipped {inputs.results} {files} named {RESULT_NAMES}.")
    for left_out, why in (
        (inputs.unread, "in unsupported formats"),
        (no_images, "without an image"),
    ):
        if left_out:
            files = "file" if len(left_out) == 1 else "files"
            stderr().print(f"Skipped {len(left_out)} {files} {why} ({described(left_out)}).")
