"""What a run was begun with, kept in its folder, so that it goes on with nothing else."""

import contextlib
from collections.abc import Iterator

import yaml

from keras_espmedsam._files import PREFIX, atomic_path, remove_leftovers
from keras_espmedsam.errors import InputError
from keras_espmedsam.training.config.run_config import RunSettings
from keras_espmedsam.training.config.settings import load_settings
from keras_espmedsam.training.run.folder_lock import LOCK, RUN_LOCK, only_program
from keras_espmedsam.training.run.run_folder import STATE

CONFIG, PRESET = "config.yaml", "preset"
_OF_READING = ("workers", "keep_in_memory", "strict")
# What may be another when a run goes on: it changes nothing of the result.
_FREE = (
    *("output", "tensorboard", "strict", "cache.folder"),
    *(f"{data}.{key}" for data in ("data", "common_data") for key in _OF_READING),
)


@contextlib.contextmanager
def hold_run(config: RunSettings, writes: bool = True) -> Iterator[None]:
    """Keep other programs out of the folder of a run, from before it is begun until its end.

    Between the configuration that is written and the first epoch a model is built, perhaps for
    minutes: another program must not begin another run there in the meantime.

    Args:
        config: `RunSettings`.
        writes: bool. False in all but one of several processes that train together.

    Raises:
        InputError: when another program is at the run, or the folder is another's.

    Source: ours.
    """
    if not writes:
        yield
        return
    _check_ours(config)  # Before a file is put there.
    with only_program(config.output, RUN_LOCK):
        try:
            yield
        except InputError:
            # What cannot be used leaves nothing behind; and an empty folder goes with its lock.
            if not _held(config.output, CONFIG):
                (config.output / CONFIG).unlink(missing_ok=True)
            raise


def begin_run(config: RunSettings) -> bool:
    """Write the configuration into the folder of the run, or compare it with the one there.

    Call it within `hold_run`. What has not trained a whole epoch, the run or one of its phases,
    may still be changed: so a setting that stopped it can be mended.

    Args:
        config: `RunSettings`.

    Returns:
        bool. Whether the run was begun before.

    Raises:
        InputError: when the run was begun with another configuration, another program is at it,
            or the folder is another's.

    Source: ours.
    """
    path = config.output / CONFIG
    _check_alone(config)
    remove_leftovers(config.output, alone=True)
    if path.exists():
        trained = [*config.output.glob(STATE), *config.output.glob(f"*/{STATE}")]
        if trained or (config.output / PRESET).exists():
            if _differs(config, path):
                _write(config, path)
            return True
    _check_ours(config)
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


def _check_ours(config):
    """Refuse a folder that holds something and no run."""
    if (config.output / CONFIG).exists():
        return
    held = _held(config.output)
    if held or config.output.is_file():
        raise InputError(
            f"The folder {config.output} holds {', '.join(sorted(held)[:3]) or 'no folder'} "
            "and no run; give a new or empty folder as output."
        )


def _held(folder, *but):
    """What a folder holds beside locks, what was being written, and some names."""
    names = [file.name for file in folder.glob("*") if not file.name.startswith(PREFIX)]
    return [name for name in names if name not in (LOCK, RUN_LOCK, *but)]


def _check_alone(config):
    """Refuse a run of whose phases another program trains one, as a `RunFolder` on its own."""
    for path in (*config.output.glob(LOCK), *config.output.glob(f"*/{LOCK}")):
        with only_program(path.parent):
            pass


def _differs(config, path):
    """Whether something differs from the configuration in a file; refused where it may not."""
    try:
        held = load_settings(type(config), path)
    except InputError as error:
        # Of another command, or of version 0.1.0, whose add-modality had settings of its own.
        raise InputError(
            f"The run in {config.output} was begun by another command or version, with settings "
            "that are not read here; go on with that one, or give another output."
        ) from error
    # A run that is done goes on with nothing.
    open_phases = () if (config.output / PRESET).exists() else _not_begun(config, held)
    old, new = (_flat(one.model_dump(mode="json")) for one in (held, config))
    changed = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    for key in changed:
        if not key.startswith((*_FREE, *open_phases)):
            raise InputError(
                f"The run in {config.output} was begun with {key}={old.get(key)} and is now given "
                f"{new.get(key)}; give another output, or change it back."
            )
    return any(key.startswith(open_phases) for key in changed)


def _not_begun(config, held):
    """How the keys begin of the phases that have not trained an epoch."""
    if not hasattr(config, "phases"):
        return ()
    folders = held.model_copy(update={"output": config.output}).phase_folders()
    begun = [i for i, folder in enumerate(folders) if (folder / STATE).exists()]
    numbers = range(max(len(held.phases), len(config.phases)))
    return tuple(f"phases.{i}." for i in numbers if i not in begun)


def _flat(value, prefix=""):
    """Nested dicts and lists as one dict of dotted keys."""
    if isinstance(value, list):
        value = dict(enumerate(value)) or value
    if not isinstance(value, dict) or not value:
        return {prefix.rstrip("."): value}
    return {
        k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}{key}.").items()
    }
