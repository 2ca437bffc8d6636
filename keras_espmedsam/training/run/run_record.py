"""The configuration that a run was started with, kept in its folder and checked on resuming."""

import contextlib
from collections.abc import Iterator

import yaml

from keras_espmedsam._files import PREFIX, atomic_path, remove_leftovers
from keras_espmedsam._shown import shown
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.built_in_presets import versioned_name
from keras_espmedsam.training.config.run_config import RunSettings
from keras_espmedsam.training.config.settings import load_settings
from keras_espmedsam.training.config.yaml_text import read_yaml
from keras_espmedsam.training.run.folder_lock import LOCK, RUN_LOCK, only_program
from keras_espmedsam.training.run.run_folder import STATE

CONFIG, PRESET = "config.yaml", "preset"
_OF_READING = ("workers", "keep_in_memory", "strict")
# Keys that may change when a run resumes: they do not affect the result.
_FREE = (
    *("output", "tensorboard", "strict", "cache.folder"),
    *(f"{data}.{key}" for data in ("data", "common_data") for key in _OF_READING),
)


@contextlib.contextmanager
def hold_run(config: RunSettings, writes: bool = True) -> Iterator[None]:
    """Keep other programs out of a run's folder, from before it starts until it ends.

    Between writing the configuration and the first epoch a model is built, perhaps for minutes.
    Another program must not start another run there in the meantime.

    Args:
        config: `RunSettings`.
        writes: bool. False in all but one of several processes that train together.

    Raises:
        InputError: if another program uses the run, or the folder does not hold a run.
    """
    if not writes:
        yield
        return
    _check_is_run_folder(config)  # Before a file is put there.
    with only_program(config.output, RUN_LOCK):
        try:
            yield
        except InputError:
            # An unusable configuration leaves nothing behind; an empty folder goes with its lock.
            if not _held(config.output, CONFIG):
                (config.output / CONFIG).unlink(missing_ok=True)
            raise


def begin_run(config: RunSettings) -> bool:
    """Write the configuration to the run's folder, or compare it with the one there.

    Call it within `hold_run`. The settings of a run or phase that has not finished an epoch may
    still be changed, so that a setting that stopped it can be corrected.

    Args:
        config: `RunSettings`.

    Returns:
        bool. Whether the run was started before.

    Raises:
        InputError: if the run was started with another configuration, another program uses it, or
            the folder does not hold a run.
    """
    path = config.output / CONFIG
    _check_no_phase_is_training(config)
    remove_leftovers(config.output, alone=True)
    if path.exists():
        trained = [*config.output.glob(STATE), *config.output.glob(f"*/{STATE}")]
        if trained or (config.output / PRESET).exists():
            if _differs(config, path):
                _write(config, path)
            return True
    _check_is_run_folder(config)
    _write(config, path)
    return False


def _write(config, path):
    try:
        with atomic_path(path) as temporary:
            values = config.model_dump(mode="json", exclude_unset=True)
            text = yaml.safe_dump(values, sort_keys=False)
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"The folder {config.output} cannot be written: {error.strerror}."
        ) from error


def _check_is_run_folder(config):
    """Raise for a folder that holds something else than a run, or an impossible name."""
    try:
        if (config.output / CONFIG).exists():
            return
    except OSError as error:
        raise InputError(
            f"The folder {shown(config.output)} cannot be used: {error.strerror}. Give another "
            "output."
        ) from error
    held = _held(config.output)
    if held or config.output.is_file():
        raise InputError(
            f"The folder {config.output} holds {', '.join(sorted(held)[:3]) or 'no folder'} "
            "and no run; give a new or empty folder as output."
        )


def _held(folder, *but):
    """List what a folder holds besides locks, unfinished files and some names."""
    names = [file.name for file in folder.glob("*") if not file.name.startswith(PREFIX)]
    return [name for name in names if name not in (LOCK, RUN_LOCK, *but)]


def _check_no_phase_is_training(config):
    """Raise if another program trains one phase of the run, as a `RunFolder` by itself."""
    for path in (*config.output.glob(LOCK), *config.output.glob(f"*/{LOCK}")):
        with only_program(path.parent):
            pass


def _differs(config, path):
    """Whether the configuration differs from a file's; raise if it must not."""
    try:
        values = read_yaml(path, f"The record {path}")
        held = load_settings(type(config), _as_begun(values) if isinstance(values, dict) else path)
    except InputError as error:
        # By another command, or by version 0.1.0, whose add-modality had its own settings.
        raise InputError(
            f"The run in {config.output} was started by another command or version, with settings "
            "that cannot be read here; continue with that one, or give another output."
        ) from error
    # A finished run allows no changes.
    open_phases = () if (config.output / PRESET).exists() else _not_begun(config, held)
    old, new = (_flat(one.model_dump(mode="json")) for one in (held, config))
    changed = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    for key in changed:
        if not key.startswith((*_FREE, *open_phases)):
            raise InputError(
                f"The run in {config.output} was started with {key}={old.get(key)} and is now "
                f"given {new.get(key)}; give another output, or change it back."
            )
    return any(key.startswith(open_phases) for key in changed)


def _as_begun(values):
    """Return a record's values with the versions of its presets: 1 where it states none.

    Records have stated versions for as long as presets have had a second one.
    """
    if isinstance(values, list):
        return [_as_begun(value) for value in values]
    if not isinstance(values, dict):
        return values
    values = {key: _as_begun(value) for key, value in values.items()}
    preset = values.get("preset")
    if isinstance(preset, str) and versioned_name(preset) != preset:
        values["preset"] = f"{preset}@1"
    return values


def _not_begun(config, held):
    """Return key prefixes of the phases that have not finished an epoch."""
    if not hasattr(config, "phases"):
        return ()
    folders = held.model_copy(update={"output": config.output}).phase_folders()
    begun = [i for i, folder in enumerate(folders) if (folder / STATE).exists()]
    numbers = range(max(len(held.phases), len(config.phases)))
    return tuple(f"phases.{i}." for i in numbers if i not in begun)


def _flat(value, prefix=""):
    """Flatten nested dicts and lists to one dict of dotted keys."""
    if isinstance(value, list):
        value = dict(enumerate(value)) or value
    if not isinstance(value, dict) or not value:
        return {prefix.rstrip("."): value}
    return {
        k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}{key}.").items()
    }
