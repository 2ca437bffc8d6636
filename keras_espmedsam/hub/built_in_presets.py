"""The presets that come with the package, by name.

keras-hub keeps its registry of names private, so this maps our names to their folder and
leaves everything else (folders, `hf://`, `kaggle://`) to keras-hub.
"""

import json
import os
import pathlib
import re
from typing import Any

from keras_espmedsam.errors import InputError

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
METADATA_FILE = "preset.json"
WEIGHTS_FILE = "model.weights.h5"


def presets_dir() -> pathlib.Path:
    """The folder of built-in presets: in the installed package, or beside it in a checkout.

    Example:
        >>> presets_dir().name
        'presets'

    Source: ours.
    """
    packaged = _PACKAGE / "presets"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "presets"


def builtin_presets() -> dict[str, dict[str, Any]]:
    """Names of the built-in presets with their metadata.

    Returns:
        dict of name to `{"metadata": {"description", "params"}, "path", "weights", ...}`, the
        form of keras-hub's `presets`; `weights` says whether the weights are in the package.

    Example:
        >>> builtin_presets()["espmedsam_tinyvit_1024"]["weights"]
        False

    Source: keras-hub's `presets`, of which this is the form; ours.
    """
    found = {}
    for file in sorted(presets_dir().glob(f"*/{METADATA_FILE}")):
        entry = json.loads(file.read_text(encoding="utf-8"))
        entry["path"] = str(file.parent)
        entry["weights"] = (file.parent / WEIGHTS_FILE).exists()
        found[file.parent.name] = entry
    return found


def resolve_preset(preset: str | os.PathLike, load_weights: bool = True) -> str:
    """A built-in name, folder or handle to what keras-hub's `from_preset` takes.

    Args:
        preset: str or path.
        load_weights: bool. Whether weights are needed.

    Returns:
        str. A folder, or the handle as it is.

    Raises:
        InputError: for an unknown name, or a built-in one without weights in the package.

    Example:
        >>> resolve_preset("hf://org/name")
        'hf://org/name'

    Source: ours.
    """
    preset = os.fspath(preset)
    builtin = builtin_presets()
    if preset in builtin:
        if load_weights and not builtin[preset]["weights"]:
            raise InputError(
                f"The preset {preset!r} comes without weights. {builtin[preset]['get_weights']} "
                "Or load the architecture alone with load_weights=False."
            )
        return builtin[preset]["path"]
    if "://" in preset:
        return preset
    folder = pathlib.Path(preset)
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise InputError(
                f"The folder {preset!r} holds no config.json, so it is no preset; give a folder "
                "written by save_to_preset or `espmedsam convert`."
            )
        return preset
    raise InputError(
        f"Unknown preset {preset!r}: neither a folder nor one of {', '.join(builtin)}. A handle "
        "starts with hf:// or kaggle://."
    )


def card_licence(preset: str | os.PathLike) -> str | None:
    """The licence that a preset's card names, or `None`.

    Args:
        preset: built-in name or folder.

    Example:
        >>> card_licence("espmedsam_nano_256")
        'research-use-only'

    Source: ours.
    """
    card = pathlib.Path(resolve_preset(preset, load_weights=False)) / "README.md"
    if not card.is_file():
        return None
    found = dict(
        re.findall(
            r"^(license|license_name): (.+)$", card.read_text(encoding="utf-8"), re.MULTILINE
        )
    )
    return found.get("license_name", found.get("license"))
