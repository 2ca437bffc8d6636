"""`espmedsam distill`: teach a light segmenter what larger models know."""

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

    The configuration names the student, the teachers and the phases: common knowledge from any
    image encoder, a medical teacher learnt from labels, a controller per modality learnt from
    it, and all together; examples/configs/distill.yaml explains every key. Interrupted at any
    moment, the same command goes on: it loses the epoch that it was in and nothing else.

    Exit code: 0, done; 2, wrong usage, data that cannot be used, or a loss that is no number; 130
    and 143, interrupted.

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
