"""`espmedsam calibrate`: fit a preset's probabilities to labelled images, and guarantee masks."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from keras_espmedsam.cli.compile_cache import CompileCache, keep_compiled
from keras_espmedsam.cli.console import (
    errors_reported,
    progress_bar,
    stderr,
    stdout,
)
from keras_espmedsam.cli.loading import DEFAULT_PRESET, compile_notice, load_segmenter
from keras_espmedsam.data.images import MAX_PIXELS
from keras_espmedsam.data.index import read_index
from keras_espmedsam.errors import InputError
from keras_espmedsam.export.formats import format_of
from keras_espmedsam.hub.origins import MODEL, origins_of
from keras_espmedsam.hub.write_preset import checked_output, write_preset
from keras_espmedsam.inference.load_models import check_name as check_preset

_ASKED = {"recall": ">=", "false_discovery_rate": "<=", "dice": ">="}


def calibrate(
    data: Annotated[
        Path,
        typer.Option(
            metavar="INDEX.csv",
            help="CSV with the columns split, modality, dataset, image, mask, and target if there "
            "are several; paths are relative to it. Labelled images that the preset was not "
            "trained on.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the new preset.", show_default=False)
    ],
    preset: Annotated[
        str, typer.Option(help="A built-in preset, a folder, hf://... or kaggle://...")
    ] = DEFAULT_PRESET,
    recall: Annotated[
        float | None,
        typer.Option(
            metavar="LEVEL",
            help="Guarantee that masks contain this share of a target's pixels, such as 0.9.",
            show_default=False,
        ),
    ] = None,
    false_discovery_rate: Annotated[
        float | None,
        typer.Option(
            metavar="LEVEL",
            help="Guarantee that at most this share of a mask is background, such as 0.1.",
            show_default=False,
        ),
    ] = None,
    dice: Annotated[
        float | None,
        typer.Option(
            metavar="LEVEL", help="Guarantee this mean Dice, such as 0.8.", show_default=False
        ),
    ] = None,
    confidence: Annotated[
        float, typer.Option(help="How sure --false-discovery-rate and --dice are.")
    ] = 0.9,
    bias: Annotated[
        bool,
        typer.Option(
            "--bias",
            help="Fit a bias with the temperature: better probabilities of thin structures, but "
            "smaller masks at threshold 0.5.",
        ),
    ] = False,
    no_probabilities: Annotated[
        bool, typer.Option("--no-probabilities", help="Leave the probabilities as they are.")
    ] = False,
    quality: Annotated[
        bool,
        typer.Option(
            "--quality",
            help="Also fit a prediction of how good each mask is, for targets with 4 images or "
            "more.",
        ),
    ] = False,
    scope: Annotated[
        bool,
        typer.Option(
            "--scope",
            help="Also accept these images as being of the right kind, where too many of a "
            "modality are not, by moving the threshold; 19 images or more.",
        ),
    ] = False,
    split: Annotated[
        list[str] | None, typer.Option(help="Split to use; may be repeated. Default: val.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Use only this data set; may be repeated.")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Calibrate only this target, such as vessels; may be repeated. Default: all that "
            "the index labels.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images segmented at a time.")] = 8,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Maximum pixels (width x height) of one image.")
    ] = MAX_PIXELS,
    compile_cache: CompileCache = None,
) -> None:
    """Calibrate a preset on labelled images: honest probabilities, and masks with a guarantee.

    Writes a new preset with the same weights. Tens of images of your own hospital are enough, and
    minutes; 9 of each target can guarantee a recall of 0.9. Use the guarantee with espmedsam
    segment --guarantee. It holds for images from where these are, and no others.

    Prints a table with a row for each target: the temperature of its probabilities, the expected
    calibration error (ECE) and the Brier score before and after, and for each guarantee the
    threshold and the mean recall, false discovery rate and Dice that these images have with it.

    Exit code: 0, done; 2, wrong usage, or nothing could be guaranteed that was asked for; 130 or
    143, interrupted.

    \b
    Examples:
      espmedsam calibrate --data ours.csv --output our_preset --recall 0.9
      espmedsam calibrate --preset ./trained --data ours.csv --output calibrated --dice 0.8
      espmedsam calibrate --data ours.csv --output our_preset --quality --scope
      espmedsam segment scans/ --preset our_preset --modality xray --guarantee recall
    """
    levels = {"recall": recall, "false_discovery_rate": false_discovery_rate, "dice": dice}
    calibrates = not no_probabilities or set(levels.values()) != {None}
    with errors_reported():
        if not (calibrates or quality or scope):
            raise InputError(
                "Received --no-probabilities alone, which leaves nothing to do; leave it out, or "
                "add --recall, --false-discovery-rate, --dice, --quality or --scope."
            )
        check_preset(preset)
        if format_of(preset) is not None:
            raise InputError(
                f"Received the exported model {preset}; calibrate the preset it was made from, "
                "and export that again."
            )
        output = checked_output(output)
        records = read_index(data, split or ["val"], dataset or None, targets=target or None)
        keep_compiled(compile_cache)
        if quality:  # Before minutes of calibration.
            from keras_espmedsam.evaluation.fit_quality import check_enough_masks  # Imports Keras.

            check_enough_masks(records, max_pixels)
        segmenter = load_segmenter(preset)
        from keras_espmedsam.evaluation import RememberedOutputs, fit_scope_threshold

        found, moved = [], []
        with progress_bar() as bar, compile_notice(segmenter, bar.console.print) as first:

            def progress(title: str) -> Callable[[int], None]:
                task = bar.add_task(title, total=len(records))

                def advance(count: int) -> None:
                    first.end()
                    bar.advance(task, count)

                return advance

            def each(advance: Callable[[int], None]) -> Callable[[Any], None]:
                return lambda record: advance(1)

            if scope:  # The fastest, and the one that may need more images.
                moved = fit_scope_threshold(
                    segmenter,
                    records,
                    max_pixels=max_pixels,
                    progress=each(progress("Moving the threshold of the scope")),
                )
                segmenter = segmenter.with_scope(
                    {**segmenter.scope, **{one.modality: one.coefficients for one in moved}}
                )
            outputs = RememberedOutputs(segmenter) if quality and calibrates else None
            if calibrates:
                found = segmenter.calibrate(
                    records,
                    **levels,
                    confidence=confidence,
                    probabilities=not no_probabilities,
                    bias=bias,
                    batch_size=batch_size,
                    max_pixels=max_pixels,
                    outputs=outputs,
                    progress=progress("Calibrating"),
                )
            if quality:
                segmenter = segmenter.fit_quality(
                    records,
                    outputs,
                    max_pixels=max_pixels,
                    progress=each(progress("Fitting the predicted quality")),
                )
        for one in moved:
            stderr().print(
                f"{one.modality}: {one.before} of {one.num_images} images were out of scope, and "
                f"{one.after} are now."
            )
        if found:
            stdout().print(_table(found))
        stderr().print(write_preset(segmenter, output, origins_of(preset, MODEL)))


def _table(found: Iterable[Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("modality", "target"):
        table.add_column(title, no_wrap=True)
    numbers = ("images", "temperature", "bias", "ECE", "Brier", "guarantee", "threshold")
    for title in (*numbers, "recall", "false discovery", "Dice"):
        table.add_column(title, justify="right", no_wrap=True)
    for one in found:
        name = [one.modality, one.target, str(one.num_images)]
        name.append(f"{one.options.get('temperature', 1):.2f}")
        name.append(f"{one.options.get('bias', 0):.2f}")
        for measure in ("ece", "brier"):
            before, after = (getattr(of, measure) for of in (one.before, one.after))
            name.append(f"{before:.4f} to {after:.4f}")
        rows = [
            [
                f"{risk.replace('_', ' ')} {_ASKED[risk]} {held['level']:g}",
                f"{held['threshold']:.3g}",
                *(f"{one.means[risk][measure]:.3f}" for measure in _ASKED),
            ]
            for risk, held in one.guarantees.items()
        ]
        for number, row in enumerate(rows or [[]]):
            table.add_row(*(name if not number else [""] * len(name)), *row)
    return table
