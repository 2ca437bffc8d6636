"""The presets that come with the package, by name and version.

keras-hub keeps its registry of names private, so this maps our names to their folder and
leaves everything else (folders, `hf://`, `kaggle://`) to others.

The folders are the table: `NAME` is the newest version of a preset, whose number is the `version`
in its metadata file (1 without one), and `NAME@N` is version N, if it is an earlier one. Earlier
versions are in the wheel without their weights, which would double it; those are in a package of
their own, which puts them into the same folders (`tools/earlier_presets.py`).
"""

import os
import pathlib
import re
from typing import Any

from keras_espmedsam._shown import shown, shown_value
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.hub.json_file import read_json

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
METADATA_FILE = "preset.json"
WEIGHTS_FILE = "model.weights.h5"
CARD_FILE = "README.md"
EARLIER_PACKAGE = "keras-espmedsam-earlier-presets"
"""The package with the weights of earlier versions."""
_MAX_CARD = 2**20
_EARLIER = re.compile(r"(.+)@([1-9]\d{0,8})")


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_version(value):
    return _is_count(value) and value >= 1


# The keys of the metadata file: check of the value, and what is expected.
_ENTRY = (
    (
        ("classes",),
        lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
        "a list of names",
    ),
    (("metadata",), lambda value: isinstance(value, dict), "an object"),
    (("metadata", "description"), lambda value: isinstance(value, str), "text"),
    (("metadata", "params"), _is_count, "a whole number"),
    (("get_weights",), lambda value: isinstance(value, str), "text"),
    (("version",), _is_version, "a whole number from 1"),
)


def presets_dir() -> pathlib.Path:
    """Return the folder of the built-in presets: in the package, or beside it in a checkout.

    Example:
        >>> presets_dir().name
        'presets'
    """
    packaged = _PACKAGE / "presets"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "presets"


def builtin_presets(earlier: bool = False) -> dict[str, dict[str, Any]]:
    """Return the built-in presets with their metadata.

    Args:
        earlier: bool. Whether earlier versions are listed too, as `NAME@VERSION`.

    Returns:
        dict of name to `{"metadata": {"description", "params"}, "path", "weights", "version",
        ...}`, like keras-hub's `presets`; `weights` says whether the weights are there.

    Raises:
        InputError: when the package is damaged.

    Example:
        >>> entry = builtin_presets()["espmedsam_tinyvit_1024"]
        >>> entry["weights"], entry["version"]
        (False, 1)
    """
    found = {}
    for file in sorted(presets_dir().glob(f"*/{METADATA_FILE}")):
        name = file.parent.name
        of_earlier = _EARLIER.fullmatch(name)
        if of_earlier and not earlier:
            continue
        what = f"The file {METADATA_FILE} of the built-in preset {shown(name)}"
        entry = {"version": 1, **read_json(file, what)}
        if of_earlier:
            entry["version"] = int(of_earlier[2])
        for keys, right, expected in _ENTRY:
            _check_entry(entry, keys, right, expected, what)
        entry["path"] = str(file.parent)
        entry["weights"] = (file.parent / WEIGHTS_FILE).exists()
        found[name] = entry
    return found


def versioned_name(preset: str | os.PathLike) -> str:
    """Return a built-in preset's name with its version, for reports and records.

    Args:
        preset: str or path. A name with or without a version, or anything else that
            `resolve_preset` takes.

    Returns:
        str. `NAME@VERSION`, of the newest version if none is given; anything else as it is.

    Example:
        >>> versioned_name("tic_tiny"), versioned_name("my_run/preset")
        ('tic_tiny@1', 'my_run/preset')
    """
    preset = os.fspath(preset)
    entry = builtin_presets().get(preset)
    return preset if entry is None else f"{preset}@{entry['version']}"


def _check_entry(entry, keys, right, expected, what):
    for key in keys:
        entry = entry.get(key)
    if not right(entry):
        raise InputError(
            f"{what} has {'.'.join(keys)}: {shown_value(entry)}; expected {expected}. Install the "
            "package again."
        )


def resolve_preset(preset: str | os.PathLike, load_weights: bool = True) -> str:
    """Turn a built-in name into its folder; check a folder, and leave an address as it is.

    Args:
        preset: str or path. A built-in name, of the newest version or with a version, such as
            `"espmedsam_nano_256@1"`; a folder; or an address (see `local_preset`).
        load_weights: bool. Whether weights are needed.

    Returns:
        str. A folder or an address.

    Raises:
        InputError: for an unknown name or version, or a built-in preset without weights if they
            are needed.

    Example:
        >>> resolve_preset("hf://org/name")
        'hf://org/name'
    """
    preset = os.fspath(preset)
    if not isinstance(preset, str) or not preset:
        raise InputError(
            f"Received {preset!r} as a preset; give the name of a built-in preset, or a folder."
        )
    builtin = builtin_presets(earlier=True)
    entry = builtin.get(preset) or _of_version(preset, builtin)
    if entry is not None:
        if load_weights and not entry["weights"]:
            raise InputError(
                f"The preset {preset!r} comes without weights. {_how_to_get(entry)} "
                "Or load only the architecture with load_weights=False."
            )
        return entry["path"]
    if "://" in preset:
        return preset
    # Unlike pathlib, os.path accepts names of any length and with any character.
    if os.path.isdir(preset):
        if not os.path.exists(os.path.join(preset, "config.json")):
            raise InputError(
                f"The folder {preset!r} holds no config.json, so it is not a preset; "
                "give a folder written by save_to_preset or `espmedsam convert`."
            )
        return preset
    name = preset.partition("@")[0]
    raise InputError(
        f"Unknown preset {preset!r}: neither a folder nor one of "
        f"{', '.join(builtin)}{did_you_mean(name, builtin)} An address starts with hf:// or "
        "kaggle://."
    )


def _of_version(preset, builtin):
    """Return the entry that a name with a version stands for; None if it is not a built-in one."""
    name, at, version = preset.partition("@")
    if not at or name not in builtin:
        return None
    newest = builtin[name]["version"]
    if version == str(newest):
        return builtin[name]
    known = [str(one["version"]) for key, one in builtin.items() if key.startswith(f"{name}@")]
    raise InputError(
        f"The preset {name} has no version {shown_value(version)}; it has "
        f"{', '.join([*known, str(newest)])}. Write {name}@{newest}, or {name} for the newest."
    )


def _how_to_get(entry):
    """Return a sentence about the weights that are not in the package."""
    if not entry["get_weights"] and weights_are_elsewhere(entry["path"]):
        return (
            "Those of earlier versions are in a package of their own: `pip install "
            f"{EARLIER_PACKAGE}`."
        )
    return entry["get_weights"]


def weights_are_elsewhere(folder: str | os.PathLike) -> bool:
    """Return whether a folder is an earlier version of a built-in preset without its weights.

    Args:
        folder: path of a preset.

    Example:
        >>> weights_are_elsewhere(presets_dir() / "espmedsam_nano_256")
        False
    """
    folder = pathlib.Path(folder)
    built_in = folder.parent == presets_dir() and _EARLIER.fullmatch(folder.name)
    return bool(built_in) and not (folder / WEIGHTS_FILE).exists()


def card_licence(preset: str | os.PathLike) -> str | None:
    """Return the licence that a preset's card names, or `None`.

    Args:
        preset: built-in name or folder.

    Example:
        >>> card_licence("espmedsam_nano_256")
        'research-use-only'
    """
    text = read_card(resolve_preset(preset, load_weights=False)) or ""
    found = dict(re.findall(r"^(license|license_name): (.+)$", text, re.MULTILINE))
    licence = found.get("license_name", found.get("license"))
    return None if licence is None else shown(licence.strip())


def read_card(folder: str | os.PathLike) -> str | None:
    """Return the text of a preset's card, its `README.md`; `None` if it has no card.

    Text beyond 1 MiB is cut off, and invalid UTF-8 is replaced.

    Args:
        folder: path of the preset.

    Example:
        >>> read_card(presets_dir() / "espmedsam_nano_256")[:3]
        '---'
    """
    card = pathlib.Path(folder) / CARD_FILE
    try:
        if not card.is_file():
            return None
        with card.open("rb") as file:
            text = file.read(_MAX_CARD).decode("utf-8", errors="replace")
    except OSError as error:
        raise InputError(
            f"The card {shown(card)} cannot be read ({error.strerror}); make the file readable, or "
            "remove it."
        ) from error
    return text.replace("\r\n", "\n")
