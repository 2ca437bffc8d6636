"""The presets that come with the package, by name.

keras-hub keeps its registry of names private, so this maps our names to their folder and
leaves everything else (folders, `hf://`, `kaggle://`) to keras-hub.
"""

import json
import os
import pathlib
import re
from typing import Any

from keras_espmedsam._shown import shown
from keras_espmedsam.errors import InputError

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
METADATA_FILE = "preset.json"
WEIGHTS_FILE = "model.weights.h5"
_MAX_CARD = 2**20


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
    if not isinstance(preset, str) or not preset:
        raise InputError(
            f"Received {preset!r} as a preset; give the name of a built-in one, or a folder."
        )
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
    # Unlike pathlib's, these take a name of any length and with any character.
    if os.path.isdir(preset):
        if not os.path.exists(os.path.join(preset, "config.json")):
            raise InputError(
                f"The folder {preset!r} holds no config.json, so it is no preset; "
                "give a folder written by save_to_preset or `espmedsam convert`."
            )
        return preset
    raise InputError(
        f"Unknown preset {preset!r}: neither a folder nor one of "
        f"{', '.join(builtin)}. A handle starts with hf:// or kaggle://."
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
    text = read_card(resolve_preset(preset, load_weights=False)) or ""
    found = dict(re.findall(r"^(license|license_name): (.+)$", text, re.MULTILINE))
    licence = found.get("license_name", found.get("license"))
    return None if licence is None else shown(licence.strip())


def read_card(folder: str | os.PathLike) -> str | None:
    """The text of a preset's card, its `README.md`; or `None` where it has none.

    Args:
        folder: path of the preset. What is beyond a MiB is left out, and what is no UTF-8 is
            replaced: a card is for reading.

    Example:
        >>> read_card(presets_dir() / "espmedsam_nano_256")[:3]
        '---'

    Source: ours.
    """
    card = pathlib.Path(folder) / "README.md"
    try:
        if not card.is_file():
            return None
        with card.open("rb") as file:
            text = file.read(_MAX_CARD).decode("utf-8", errors="replace")
    except OSError as error:
        raise InputError(
            f"The card {shown(card)} cannot be read ({error.strerror}); give a file that may be "
            "read, or remove it."
        ) from error
    return text.replace("\r\n", "\n")
