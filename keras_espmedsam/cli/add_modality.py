"""`espmedsam add-modality`: teach a preset one more modality."""

from pathlib import Path
from typing import Annotated, Any

import typer

from keras_espmedsam._startup import require
from keras_espmedsam.cli.compile_cache import CompileCache, keep_compiled
from keras_espmedsam.cli.console import errors_reported
from keras_espmedsam.cli.loading import DEFAULT_PRESET, import_models
from keras_espmedsam.cli.train import Strict, epochs_done, say, verbosity
from keras_espmedsam.inference.load_models import check_name as check_preset

# Warm-up steps, and the final learning rate as a fraction of the highest one.
_WARMUP, _FALL = 10, 0.01

Output = Annotated[
    Path, typer.Option(metavar="DIR", help="Folder for the run.", show_default=False)
]
Preset = Annotated[str, typer.Option(help="A built-in preset, a folder, hf://... or kaggle://...")]
Splits = Annotated[
    list[str] | None, typer.Option(help="Split to train on; may be repeated. Default: train.")
]
ValSplits = Annotated[
    list[str] | None, typer.Option(help="Split to validate on; may be repeated. Default: val.")
]
Epochs = Annotated[int, typer.Option(min=1, help="Maximum number of epochs.")]
Steps = Annotated[int, typer.Option(min=1, help="Batches per epoch.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per batch.")]
LearningRate = Annotated[float, typer.Option(help="Peak learning rate.")]
Patience = Annotated[
    int,
    typer.Option(min=1, help="Stop after this many epochs without a better validation Dice."),
]
Size = Annotated[
    int | None,
    typer.Option(
        min=32,
        metavar="PIXELS",
        help="Image size to train at. Default: the preset's; required if the preset accepts "
        "any size.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Random seed.")]


def add_modality(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="The new modality, such as fetal_ultrasound.", show_default=False
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            metavar="INDEX.csv",
            help="CSV with the columns split, modality, dataset, image, mask; paths are relative "
            "to it. Every row of the chosen splits is used for the new modality; the modality "
            "column is ignored.",
            show_default=False,
        ),
    ],
    output: Output,
    preset: Preset = DEFAULT_PRESET,
    init_from: Annotated[
        str | None,
        typer.Option(
            metavar="MODALITY",
            help="Start from a copy of this modality's controller and query instead of new ones.",
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TARGET",
            help="Name of a target of the new modality, as in the column target of the index; may "
            "be repeated. Default: one without a name.",
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
    """Add a modality to a preset: train a new controller and query on your images.

    Everything else is frozen, so the masks of the other modalities do not change. The run's folder
    gets the weights, the learning curves and, at the end, the preset of the epoch with the best
    validation Dice. If a run is killed, repeat the command to resume it. Nothing is overwritten.

    This is short for `espmedsam train` with the key model.add_modality, which has more options;
    the run's config.yaml shows how.

    Exit code: 0, done; 2, wrong usage, unusable data, or a loss that became NaN or infinite; 130
    or 143, interrupted.

    \b
    Examples:
      espmedsam add-modality fetal_ultrasound --data index.csv --init-from ultrasound --output fetal
      espmedsam segment image.png --preset fetal/preset --modality fetal_ultrasound
    """
    train_added(
        "Adding a modality",
        {"add_modality": {"name": name, "init_from": init_from, "targets": target or None}},
        {"sources": [{"index": data}], **splits(split, val_split, strict)},
        short_phase(size, epochs, steps, batch_size, learning_rate),
        preset=preset,
        compile_cache=compile_cache,
        output=output,
        seed=seed,
        early_stopping={"patience": patience},
    )


def splits(split: list[str] | None, val_split: list[str] | None, strict: bool) -> dict[str, Any]:
    """Return the keys of `data` that say which images are used."""
    return {
        "train_splits": split or ["train"],
        "val_splits": val_split or ["val"],
        "strict": strict,
    }


def short_phase(
    size: int | None, epochs: int, steps: int, batch_size: int, learning_rate: float
) -> dict[str, Any]:
    """Return a phase for few new weights beside many that stay as they are."""
    return {
        "image_size": size,
        "epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": {
            "rate": learning_rate,
            "schedule": "cosine",
            "warmup_steps": min(_WARMUP, epochs * steps - 1),
            "final_rate": _FALL * learning_rate,
        },
        "optimizer": {"name": "adamw", "weight_decay": 0.05, "global_clipnorm": 1.0},
    }


def train_added(
    what: str,
    model: dict[str, Any],
    data: dict[str, Any],
    phase: dict[str, Any],
    *,
    preset: str,
    compile_cache: str | None,
    **keys: Any,
) -> None:
    """Train what is added to a preset.

    Args:
        what: what the command does, as the beginning of a sentence.
        model: keys of `model` besides the preset.
        data, phase: of the configuration.
        preset: name of the preset.
        compile_cache: the command's option.
        **keys: other keys of the configuration.
    """
    settings: Any = None
    with errors_reported(lambda: epochs_done(settings)):
        for module in ("pydantic", "yaml"):
            require(module, what, "train")
        from keras_espmedsam.training.config.settings import load_settings
        from keras_espmedsam.training.config.train_config import TrainConfig

        # Before Keras starts, which takes seconds, so that wrong usage is reported at once.
        settings = load_settings(
            TrainConfig,
            {**keys, "model": {"preset": preset, **model}, "data": data, "phases": [phase]},
        )
        check_preset(preset)
        keep_compiled(compile_cache)
        import_models()
        from keras_espmedsam.training import train

        train(settings, report=say, verbose=verbosity())
