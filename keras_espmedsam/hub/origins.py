"""What the weights of a preset were begun from: names, licences and checksums, kept in the preset.

A trained preset carries the terms of everything that its weights come from. They stand in its file
`origins.json` for programs, and in its card for people.
"""

import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from keras_espmedsam._files import atomic_path
from keras_espmedsam._shown import printable, shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.built_in_presets import (
    WEIGHTS_FILE,
    builtin_presets,
    card_licence,
    resolve_preset,
    versioned_name,
)
from keras_espmedsam.hub.checksums import file_sha256
from keras_espmedsam.hub.json_file import read_json

ORIGINS_FILE = "origins.json"
MODEL, ENCODER, TEACHER = "model", "image encoder", "teacher"
"""Parts of a model that begin from a preset."""
_MOST = 100


class Origin(NamedTuple):
    """Weights that others were begun from, or learnt from.

    Attributes:
        part: which part of the model came from them, such as `"image encoder"` or `"teacher"`.
        name: of the weights: a preset, or a published file.
        licence: of the weights, or `None` where it is not known.
        source: where they can be had, or `None`.
        sha256: of the file of weights, or `None`.
    """

    part: str
    name: str
    licence: str | None = None
    source: str | None = None
    sha256: str | None = None


def write_origins(
    folder: str | os.PathLike, origins: Iterable[Origin], converted: bool = False
) -> None:
    """Write the origins of a preset to its `origins.json`, before its checksums are written.

    Args:
        folder: path of the preset.
        origins: what its weights were begun from; each is written once.
        converted: whether its weights are those of its origin, unchanged.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> write_origins(folder, [Origin("image encoder", "EfficientNet-Lite0", "Apache-2.0")])
        >>> read_origins(folder)[0].licence
        'Apache-2.0'
    """
    once = [origin._asdict() for origin in dict.fromkeys(origins)]
    with atomic_path(pathlib.Path(folder) / ORIGINS_FILE) as temporary:
        text = json.dumps({"converted": converted, "origins": once}, indent=4)
        temporary.write_text(f"{text}\n", encoding="utf-8", newline="\n")


def read_origins(folder: str | os.PathLike) -> list[Origin]:
    """Return the origins of a preset; none if it has no `origins.json`.

    Args:
        folder: path of the preset.

    Raises:
        InputError: for a file that is not one.

    Example:
        >>> read_origins("presets/tic_tiny")
        []
    """
    return _read(folder)[0]


def _read(folder: str | os.PathLike) -> tuple[list[Origin], bool]:
    """Return the origins, and whether the weights are those of the origin."""
    path = pathlib.Path(folder) / ORIGINS_FILE
    if not path.is_file():
        return [], False
    what = f"The file {ORIGINS_FILE} of the preset {folder}"
    content = read_json(path, what)
    listed = content.get("origins")
    if not isinstance(listed, list) or len(listed) > _MOST:
        raise InputError(
            f"{what} holds no list of at most {_MOST} origins; get the preset again from its "
            "source."
        )
    return [_origin(one, what) for one in listed], content.get("converted") is True


def _origin(value: object, what: str) -> Origin:
    origin = _parsed(value if isinstance(value, dict) else {})
    if origin is None:
        raise InputError(
            f"{what} has an origin that is not understood; expected part and name, and licence, "
            "source and sha256 as text or null. Get the preset again from its source."
        )
    return origin


def _parsed(entries: dict[str, object]) -> Origin | None:
    # Not trusted: it is shown in terminals and cards.
    found = {
        key: printable(text) for key in Origin._fields if isinstance(text := entries.get(key), str)
    }
    odd = [key for key in Origin._fields if key not in found and entries.get(key) is not None]
    return None if odd or not found.keys() >= {"part", "name"} else Origin(**found)


def checked_origins(given: Any, part: str) -> tuple[Origin, ...]:
    """Return origins that were given in Python, or stand in a model's configuration.

    Args:
        given: list of `Origin` or of dicts of its fields; `None` for none.
        part: the part of those that do not name one.

    Raises:
        InputError: for anything else.

    Example:
        >>> checked_origins([{"name": "ResNet-18", "licence": "MIT"}], "image encoder")[0][:3]
        ('image encoder', 'ResNet-18', 'MIT')
    """
    listed = [] if given is None else given
    # An `Origin` is a tuple, too.
    if not isinstance(listed, list | tuple) or isinstance(listed, Origin) or len(listed) > _MOST:
        raise _no_origin(given)
    found = []
    for one in listed:
        entries = one._asdict() if isinstance(one, Origin) else one
        known = isinstance(entries, dict) and entries.keys() <= {*Origin._fields}
        origin = _parsed({"part": part, **entries}) if known else None
        if origin is None:
            raise _no_origin(one)
        found.append(origin)
    return tuple(found)


def _no_origin(received: object) -> InputError:
    return InputError(
        f"Received {shown_value(received)} for origins; expected a list of at most {_MOST} dicts "
        "of name, and of part, licence, source and sha256 where they are known, all text."
    )


def origins_of(preset: str | os.PathLike, part: str) -> list[Origin]:
    """Return the origins of a model that begins from a preset: that one, and the preset's own.

    Args:
        preset: a built-in name, a folder, or an address or name that keras-hub knows; its licence
            is read only where its files are at hand.
        part: which part of the model begins from it.

    Returns:
        The origins, nearest first. A preset that `espmedsam convert` wrote is not one itself, but
        the file that it was made from is.

    Raises:
        InputError: for a folder whose origins cannot be read.

    Example:
        >>> origins_of("espmedsam_nano_256@1", "teacher")[0][:3]
        ('teacher', 'espmedsam_nano_256@1', 'research-use-only')
    """
    preset = os.fspath(preset)
    built_in = preset.partition("@")[0] in builtin_presets()
    if not built_in and not os.path.isdir(preset):
        return [_elsewhere(preset, part)]
    folder = pathlib.Path(resolve_preset(preset, load_weights=False))
    own, converted = _read(folder)
    if converted:
        return [origin._replace(part=part) for origin in own]
    weights = folder / WEIGHTS_FILE
    itself = Origin(
        part,
        versioned_name(preset) if built_in else folder_name(folder),
        card_licence(folder),
        "keras-espmedsam" if built_in else None,
        file_sha256(weights) if weights.is_file() else None,
    )
    return [itself, *(one._replace(part=_part_of(one.part, part)) for one in own)]


def _elsewhere(preset: str, part: str) -> Origin:
    """Return the origin of a preset whose files are not at hand."""
    if "://" in preset:
        return Origin(part, preset)
    if pathlib.PurePath(preset).name != preset:  # A folder that is gone.
        return Origin(part, folder_name(preset))
    return Origin(part, preset, source="keras-hub")


def folder_name(folder: str | os.PathLike) -> str:
    """Return what to call a preset's folder in a card: not its path, which says who wrote it.

    Args:
        folder: path of the preset. In a run, every one is called `preset`.

    Example:
        >>> folder_name("/home/someone/eyes/preset"), folder_name("lite0/")
        ('eyes/preset', 'lite0')
    """
    path = pathlib.Path(os.path.abspath(folder))
    return f"{path.parent.name}/{path.name}" if path.name == "preset" else path.name


def _part_of(inner: str, outer: str) -> str:
    return inner if outer in (MODEL, inner) else f"{inner} of the {outer}"


def origins_section(origins: Sequence[Origin]) -> str:
    """Return a section of a card, in Markdown, that names what a preset was begun from.

    Args:
        origins: at least one.

    Returns:
        str.

    Example:
        >>> print(origins_section([Origin("image encoder", "Lite0", "Apache-2.0")]))
        ## Begun from
        <BLANKLINE>
        | part | weights | licence | source | SHA-256 |
        |---|---|---|---|---|
        | image encoder | Lite0 | Apache-2.0 | | |
    """
    lines = ["## Begun from", "", "| part | weights | licence | source | SHA-256 |"]
    lines.append("|---|---|---|---|---|")
    for one in origins:
        licence = one.licence or "not stated: ask its source"
        cells = (one.part, one.name, licence, one.source or "", one.sha256 or "")
        lines.append(f"| {' | '.join(map(_cell, cells))} |".replace("|  ", "| "))
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
