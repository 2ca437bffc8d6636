"""The presets that come with the package, by name.

keras-hub keeps its registry of names private, so this maps our names to their folder and
leaves everything else (folders, `hf://`, `kaggle://`) to others.
"""

import os
import pathlib
import re
from typing import Any

from keras_espmedsam._shown import shown, shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.json_file import read_json

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
METADATA_FILE = "preset.json"
WEIGHTS_FILE = "model.weights.h5"
_MAX_CARD = 2**20


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


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
)


def presets_dir() -> pathlib.Path:
    """Return the folder of the built-in presets: in the package, or beside it in a checkout.

    Example:
        >>> presets_dir().name
        'presets'
    """
    packaged = _PACKAGE / "presets"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "presets"


def builtin_presets() -> dict[str, dict[str, Any]]:
    """Return the built-in presets with their metadata.

    Returns:
        dict of name to `{"metadata": {"description", "params"}, "path", "weights", ...}`, like
        keras-hub's `presets`; `weights` says whether the weights are in the package.

    Raises:
        InputError: when the package is damaged.

    Example:
        >>> builtin_presets()["espmedsam_tinyvit_1024"]["weights"]
        False
    """
    found = {}
    for file in sorted(presets_dir().glob(f"*/{METADATA_FILE}")):
        what = f"The file {METADATA_FILE} of the built-in preset {shown(file.parent.name)}"
        entry = read_json(file, what)
        for keys, right, expected in _ENTRY:
            _check_entry(entry, keys, right, expected, what)
        entry["path"] = str(file.parent)
        entry["weights"] = (file.parent / WEIGHTS_FILE).exists()
        found[file.parent.name] = entry
    return found


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
        preset: str or path. A built-in name, a folder, or an address (see `local_preset`).
        load_weights: bool. Whether weights are needed.

    Returns:
        str. A folder or an address.

    Raises:
        InputError: for an unknown name, or a built-in preset without weights if they are needed.

    Example:
        >>> resolve_preset("hf://org/name")
        'hf://org/name'
    """
    preset = os.fspath(preset)
    if not isinstance(preset, str) or not preset:
        raise InputError(
            f"Received {preset!r} as a preset; give the name of a built-in preset, or a folder."
        )
    builtin = builtin_presets()
    if preset in builtin:
        if load_weights and not builtin[preset]["weights"]:
            raise InputError(
                f"The preset {preset!r} comes without weights. {builtin[preset]['get_weights']} "
                "Or load only the architecture with load_weights=False."
            )
        return builtin[preset]["path"]
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
    raise InputError(
        f"Unknown preset {preset!r}: neither a folder nor one of "
        f"{', '.join(builtin)}. An address starts with hf:// or kaggle://."
    )


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
    card = pathlib.Path(folder) / "README.md"
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
