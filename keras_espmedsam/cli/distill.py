"""`espmedsam distill`: train a light segmenter to imitate larger models."""

from typing import Any

from keras_espmedsam.cli.compile_cache import CompileCache, keep_compiled
from keras_espmedsam.cli.console import errors_reported
from keras_espmedsam.cli.loading import import_models
from keras_espmedsam.cli.train import (
    Changes,
    Configuration,
    Output,
    Strict,
    epochs_done,
    read_config,
    say,
    verbosity,
)


def distill(
    config: Configuration,
    changes: Changes = None,
    output: Output = None,
    strict: Strict = False,
    compile_cache: CompileCache = None,
) -> None:
    """Distil a light segmenter from teachers, in the phases of the paper.

    The configuration names the student, the teachers and the phases: distil common knowledge from
    any image encoder, train a medical teacher on labels, distil a controller per modality from it,
    and train everything together. examples/configs/distill.yaml explains every key. If a run is
    killed, repeat the command to resume it; only the unfinished epoch is lost.

    Exit code: 0, done; 2, wrong usage, unusable data, or a loss that became NaN or infinite; 130
    or 143, interrupted.

    \b
    Examples:
      espmedsam distill distill.yaml
      espmedsam distill distill.yaml --output runs/second --set phases.0.epochs=5
    """
    settings: Any = None
    with errors_reported(lambda: epochs_done(settings)):
        settings = read_config("DistillConfig", config, changes, output, strict)
        keep_compiled(compile_cache)
        import_models()
        from keras_espmedsam.distillation import distill as run

        run(settings, report=say, verbose=verbosity())
