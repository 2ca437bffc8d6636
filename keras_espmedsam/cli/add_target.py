"""`espmedsam add-target`: teach a preset further targets of a modality."""

from pathlib import Path
from typing import Annotated

import typer

from keras_espmedsam.cli.add_modality import (
    BatchSize,
    Epochs,
    LearningRate,
    Output,
    Patience,
    Preset,
    Seed,
    Size,
    Splits,
    Steps,
    ValSplits,
    short_phase,
    splits,
    train_added,
)
from keras_espmedsam.cli.compile_cache import CompileCache
from keras_espmedsam.cli.loading import DEFAULT_PRESET
from keras_espmedsam.cli.train import Strict


def add_target(
    modality: Annotated[
        str,
        typer.Argument(
            metavar="MODALITY", help="A modality of the preset, such as fundus.", show_default=False
        ),
    ],
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="One or more new targets, such as optic_disc optic_cup.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            metavar="INDEX.csv",
            help="CSV with the columns split, modality, dataset, image, mask and target, a row for "
            "each image and target; paths are relative to it. Rows of other targets are not used. "
            "For one new target, rows without a target show it.",
            show_default=False,
        ),
    ],
    output: Output,
    preset: Preset = DEFAULT_PRESET,
    first: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of what the preset segments in this modality already, such as vessels, if "
            "it has none.",
        ),
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="Start from a copy of this target's query and network instead of new ones.",
        ),
    ] = None,
    adapter_dim: Annotated[
        int,
        typer.Option(
            min=0,
            help="Hidden width of an adapter of the image features for each new target, such as "
            "16, for a target that looks unlike the others; 0 for none.",
        ),
    ] = 0,
    inside: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="Target that contains the last of the new ones, such as optic_disc for optic_cup.",
        ),
    ] = None,
    split: Splits = None,
    val_split: ValSplits = None,
    epochs: Epochs = 20,
    steps: Steps = 30,
    batch_size: BatchSize = 8,
    learning_rate: LearningRate = 2e-3,
    patience: Patience = 5,
    size: Size = None,
    seed: Seed = 0,
    strict: Strict = False,
    compile_cache: CompileCache = None,
) -> None:
    """Add targets to a modality of a preset: train a new query and network for each.

    Everything else is frozen, so training leaves all other masks the same, bit for bit. The run's
    folder gets the weights, the learning curves and, at the end, the preset of the epoch with the
    best validation Dice. If a run is killed, repeat the command to resume it. Nothing is
    overwritten.

    This is short for `espmedsam train` with the keys model.add_targets and model.train_only, which
    has more options; the run's config.yaml shows how.

    Exit code: 0, done; 2, wrong usage, unusable data, or a loss that became NaN or infinite; 130
    or 143, interrupted.

    \b
    Examples:
      espmedsam add-target fundus optic_disc --data index.csv --first vessels --output disc
      espmedsam segment image.png --preset disc/preset --modality fundus
    """
    new = [{"name": name, "init_from": init_from, "adapter_dim": adapter_dim} for name in names]
    model = {
        "name_targets": None if first is None else {modality: first},
        "add_targets": {modality: new},
        "nested": None if inside is None else {modality: {names[-1]: inside}},
        "train_only": "added",
    }
    source = {"index": data, "targets": names}
    if len(names) == 1:
        source["target"] = {modality: names[0]}
    train_added(
        "Adding a target",
        model,
        {
            "sources": [source],
            "balance": "target",
            **splits(split, val_split, strict),
        },
        short_phase(size, epochs, steps, batch_size, learning_rate),
        preset=preset,
        compile_cache=compile_cache,
        output=output,
        seed=seed,
        early_stopping={"patience": patience},
    )
