"""What a run was begun with, kept in its folder, so that it goes on with nothing else."""

import shutil

import yaml

from keras_espmedsam._files import PREFIX, atomic_path
from keras_espmedsam.errors import InputError
from keras_espmedsam.training.settings import load_settings

CONFIG, PRESET = "config.yaml", "preset"
# What may be another when a run goes on: it changes nothing of the result.
_FREE = ("output", "tensorboard", "data.workers", "data.keep_in_memory")


def begin_run(config):
    """Write the configuration into the folder of the run, or compare it with the one there.

    Args:
        config: `RunSettings`.

    Returns:
        bool. Whether the run was begun before.

    Raises:
        InputError: when the run was begun with another configuration, or the folder is another's.

    Source: ours.
    """
    path = config.output / CONFIG
    for leftover in config.output.glob(f"{PREFIX}*"):  # Of a run that was killed while it wrote.
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    if path.exists():
        _compare(config, path)
        return True
    held = [file.name for file in config.output.glob("*")]
    if held or config.output.is_file():
        raise InputError(
            f"The folder {config.output} holds {', '.join(sorted(held)[:3]) or 'no folder'} and no "
            "run; give a new or empty folder as output."
        )
    try:
        with atomic_path(path) as temporary:
            values = config.model_dump(mode="json", exclude_unset=True)
            text = yaml.safe_dump(values, sort_keys=False)
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"The folder {config.output} cannot be written: {error.strerror}."
        ) from error
    return False


def _compare(config, path):
    old = _flat(load_settings(type(config), path).model_dump(mode="json"))
    new = _flat(config.model_dump(mode="json"))
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key) and not key.startswith(_FREE):
            raise InputError(
                f"The run in {config.output} was begun with {key}={old.get(key)} and is now given "
                f"{new.get(key)}; give another output, or change it back."
            )


def _flat(value, prefix=""):
    """Nested dicts and lists as one dict of dotted keys."""
    if isinstance(value, dict) and value:
        pairs = value.items()
    elif isinstance(value, list) and value:
        pairs = enumerate(value)
    else:
        return {prefix.rstrip("."): value}
    return {k: v for key, inner in pairs for k, v in _flat(inner, f"{prefix}{key}.").items()}
