"""`espmedsam train`: train a segmenter from a configuration."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from keras_espmedsam.cli.compile_cache import CompileCache, keep_compiled
from keras_espmedsam.cli.console import errors_reported, stderr
from keras_espmedsam.cli.loading import import_models

Configuration = Annotated[
    Path,
    typer.Argument(metavar="CONFIG.yaml", help="The configuration file.", show_default=False),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the configuration, such as phases.0.epochs=1; may be repeated.",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder for the run. Default: the configuration's."),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Stop at an unusable file instead of skipping it."),
]


def train(
    config: Configuration,
    changes: Changes = None,
    output: Output = None,
    strict: Strict = False,
    compile_cache: CompileCache = None,
) -> None:
    """Train a segmenter on your own images.

    The configuration describes the model, the data and the phases of training;
    examples/configs/train.yaml explains every key. The run's folder gets the weights, the learning
    curves as CSV and PNG and, at the end, a preset. If a run is killed, repeat the command to
    resume it; only the unfinished epoch is lost.

    Exit code: 0, done; 2, wrong usage, unusable data, or a loss that became NaN or infinite; 130
    or 143, interrupted.

    \b
    Examples:
      espmedsam train train.yaml
      espmedsam train train.yaml --output runs/second --set seed=1 --set phases.0.epochs=5
    """
    settings: Any = None
    with errors_reported(lambda: epochs_done(settings)):
        settings = read_config("TrainConfig", config, changes, output, strict)
        keep_compiled(compile_cache)
        import_models()
        from keras_espmedsam.training import train as run

        run(settings, report=say, verbose=verbosity())


def read_config(
    class_name: str,
    config: Path,
    changes: list[str] | None,
    output: Path | None,
    strict: bool,
) -> Any:
    """Read and check a configuration without starting Keras, which takes seconds.

    Args:
        class_name: `"TrainConfig"` or `"DistillConfig"`.
        config, changes, output, strict: the arguments of the commands.

    Returns:
        The configuration.

    Raises:
        InputError: when the configuration is not valid.
    """
    from keras_espmedsam import training

    config_class = getattr(training, class_name)
    from keras_espmedsam.training.config.settings import load_settings

    overrides: list[Any] = list(changes or ())
    if output is not None:
        overrides.append(("output", str(output)))
    settings = load_settings(config_class, config, overrides)
    if not strict:
        return settings
    data = [key for key in ("data", "common_data") if getattr(settings, key, None) is not None]
    return load_settings(config_class, settings, [(f"{key}.strict", True) for key in data])


def epochs_done(settings: Any) -> str:
    """Return the end of a sentence that says how many epochs an interrupted run has done.

    Args:
        settings: the run's configuration; None before it is read.
    """
    curves = [] if settings is None else [*settings.output.rglob("curves.csv")]
    # One line per epoch, below the header.
    count = sum(len(path.read_text(encoding="utf-8").splitlines()) - 1 for path in curves)
    if count < 1:
        return "no epoch was finished. Repeat the command to start again."
    epochs = "1 epoch is" if count == 1 else f"{count} epochs are"
    return f"{epochs} finished and saved in {settings.output}. Repeat the command to resume."


def say(sentence: str) -> None:
    """Print a sentence on stderr."""
    stderr().print(sentence)


def verbosity() -> int:
    """Return Keras' `verbose`: a progress bar on a terminal, a line per epoch in a log."""
    return 1 if sys.stdout.isatty() else 2
