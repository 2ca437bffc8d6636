"""`espmedsam add-modality`: teach a preset one modality more."""

from pathlib import Path
from typing import Annotated, Any

import typer

from keras_espmedsam._startup import require
from keras_espmedsam.cli.compile_cache import CompileCache, keep_compiled
from keras_espmedsam.cli.console import errors_reported
from keras_espmedsam.cli.loading import DEFAULT_PRESET, import_models
from keras_espmedsam.cli.train import Strict, epochs_done, say, verbosity
from keras_espmedsam.inference.load_models import check_name as check_preset

# What a run takes to reach its learning rate, in steps, and how far the rate falls afterwards.
_WARMUP, _FALL = 10, 0.01


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
            "to it. All rows of the chosen splits are the new modality's, whatever they say.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder of the run.", show_default=False)
    ],
    preset: Annotated[
        str, typer.Option(help="A built-in preset, a folder, hf://... or kaggle://...")
    ] = DEFAULT_PRESET,
    init_from: Annotated[
        str | None,
        typer.Option(
            metavar="MODALITY", help="Start from this modality's controller and query, not anew."
        ),
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Split to train on (train); may be repeated.")
    ] = None,
    val_split: Annotated[
        list[str] | None, typer.Option(help="Split to validate on (val); may be repeated.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="The most epochs.")] = 20,
    steps: Annotated[int, typer.Option(min=1, help="Batches per epoch.")] = 30,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per batch.")] = 8,
    learning_rate: Annotated[float, typer.Option(help="The highest learning rate.")] = 2e-3,
    patience: Annotated[
        int,
        typer.Option(min=1, help="Epochs without a better validation Dice, after which to end."),
    ] = 5,
    size: Annotated[
        int | None,
        typer.Option(
            min=32,
            metavar="PIXELS",
            help="Train at this size, not the preset's; needed where a preset takes any.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all that is drawn.")] = 0,
    strict: Strict = False,
    compile_cache: CompileCache = None,
) -> None:
    """Add a modality to a preset: a controller and a query of its own, trained on your images.

    All else is frozen: the preset's other modalities give the masks that they gave. The folder
    gets weights, learning curves and, at the end, the preset of the epoch with the best
    validation Dice. If a run is killed, repeat the command to resume it. Nothing is overwritten.

    It is short for `espmedsam train` with the key model.add_modality, which can say more; the
    run's config.yaml shows how.

    Exit code: 0, done; 2, wrong usage, data that cannot be used, or a loss that is no number; 130
    and 143, interrupted.

    \b
    Examples:
      espmedsam add-modality fetal_ultrasound --data index.csv --init-from ultrasound --output fetal
      espmedsam segment image.png --preset fetal/preset --modality fetal_ultrasound
    """
    settings: Any = None
    with errors_reported(lambda: epochs_done(settings)):
        for module in ("pydantic", "yaml"):
            require(module, "Adding a modality", "train")
        from keras_espmedsam.training.config.settings import load_settings
        from keras_espmedsam.training.config.train_config import TrainConfig

        # Not later: wrong usage is told before the seconds that Keras takes to start.
        settings = load_settings(
            TrainConfig,
            {
                "output": output,
                "seed": seed,
                "early_stopping": {"patience": patience},
                "model": {
                    "preset": preset,
                    "add_modality": {"name": name, "init_from": init_from},
                },
                "data": {
                    "sources": [{"index": data}],
                    "train_splits": split or ["train"],
                    "val_splits": val_split or ["val"],
                    "strict": strict,
                },
                "phases": [
                    {
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
                        "optimizer": {
                            "name": "adamw",
                            "weight_decay": 0.05,
                            "global_clipnorm": 1.0,
                        },
                    }
                ],
            },
        )
        check_preset(preset)
        keep_compiled(compile_cache)
        import_models()
        from keras_espmedsam.training import train

        train(settings, report=say, verbose=verbosity())
