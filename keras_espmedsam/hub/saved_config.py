"""Check the configuration files of a preset before a model is built from them.

Networks check their sizes too when they are built; here a bad file is rejected before Keras is
imported.
"""

import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

from keras_espmedsam._shown import shown, shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.checksums import LOADED_CONFIGS
from keras_espmedsam.hub.json_file import read_json
from keras_espmedsam.hub.sizes import check_described

_METADATA_FILE = "metadata.json"
_SHARDS_FILE = "model.weights.json"
_AGAIN = "Install, download or save the preset again."


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value):
    return isinstance(value, str)


def _is_bool(value):
    return isinstance(value, bool)


def _is_object(value):
    return isinstance(value, dict)


# Keys of this package's classes other than sizes. A converter's intensity, an activation and a
# precision have several forms, which their own code checks.
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        ("adapter", "adapter_zero_init", "self_prompts", "shared_hypernetwork", "trainable"),
        (_is_bool, "true or false"),
    ),
    **dict.fromkeys(
        ("attention_dropout", "dropout", "min_confidence"),
        (lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1"),
    ),
    **dict.fromkeys(
        ("border", "config_file", "normalization", "pooling", "resize_mode"),
        (_is_text, "a name"),
    ),
    "name": (lambda value: value is None or _is_text(value), "a name or null"),
    **dict.fromkeys(("backbone", "image_encoder"), (_is_object, "an object")),
    **dict.fromkeys(
        ("image_converter", "preprocessor"),
        (lambda value: value is None or _is_object(value), "an object or null"),
    ),
}
_CLASSES = (
    *("ESPMedSAMBackbone", "ESPMedSAMImageSegmenter", "ESPMedSAMImageSegmenterPreprocessor"),
    *("ESPMedSAMImageConverter", "TiCBackbone", "TiCImageClassifier", "TiCImageConverter"),
    *("TiCImageClassifierPreprocessor", "TinyViTBackbone", "ViTMedBackbone"),
)
# Notes that keras-hub writes about a preset; they are not read on loading.
_METADATA: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("keras_version", "keras_hub_version", "date_saved"), (_is_text, "text")),
    "parameter_count": (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
        "a whole number",
    ),
    "tasks": (
        lambda value: isinstance(value, list) and all(map(_is_text, value)),
        "a list of names",
    ),
}


def read_config(folder: str | os.PathLike, name: str = "config.json") -> dict[str, Any]:
    """Read a JSON file of a preset.

    Args:
        folder: path of the preset.
        name: name of the file.

    Raises:
        InputError: when the file is missing, damaged or does not hold settings.

    Example:
        >>> folder = kem.hub.built_in_presets.presets_dir() / "espmedsam_nano_256"
        >>> read_config(folder, "task.json")["class_name"]
        'ESPMedSAMImageSegmenter'
    """
    return read_json(pathlib.Path(folder) / name, f"The file {name} of the preset {folder}")


def check_configs(folder: str | os.PathLike) -> None:
    """Check that the files of a preset describe valid Keras objects.

    Args:
        folder: path of the preset.

    Raises:
        InputError: for the first file that is damaged or not valid.

    Example:
        >>> check_configs(kem.hub.built_in_presets.presets_dir() / "espmedsam_nano_256")
    """
    for name in LOADED_CONFIGS:
        if not os.path.lexists(pathlib.Path(folder) / name):
            continue
        config = read_config(folder, name)
        what = f"The file {name} of the preset {folder}"
        for key in ("class_name", "config"):
            if key not in config:
                raise InputError(
                    f"{what} lacks the key {key}, so it describes no Keras object; install, "
                    "download or save the preset again."
                )
        _check_objects(config, what, ())
    if os.path.lexists(pathlib.Path(folder) / _METADATA_FILE):
        what = f"The file {_METADATA_FILE} of the preset {folder}"
        _check_fields(read_config(folder, _METADATA_FILE), _METADATA, what, ())
    if os.path.lexists(pathlib.Path(folder) / _SHARDS_FILE):
        _check_shards(folder)


def _check_fields(config, fields, what, place):
    for key, (right, expected) in fields.items():
        if key in config and not right(config[key]):
            raise _wrong(what, (*place, key), config[key], expected)


def _check_shards(folder):
    """Check that the map of sharded weights names only weight files in the folder."""
    what = f"The file {_SHARDS_FILE} of the preset {folder}"
    places = read_config(folder, _SHARDS_FILE).get("weight_map")
    if not isinstance(places, dict):
        raise _wrong(what, ("weight_map",), places, "an object")
    for key, names in places.items():
        for name in names if isinstance(names, list) else [names]:
            # No separators of any system, so that the file lies in this folder.
            if not isinstance(name, str) or not re.fullmatch(r"[^/\\:\0]+\.weights\.h5", name):
                raise _wrong(
                    what, ("weight_map", key), name, "the name of a .weights.h5 file beside it"
                )


def _wrong(what, place, found, expected):
    return InputError(
        f"{what} has {shown('.'.join(map(str, place)))}: {shown_value(found)}; expected "
        f"{expected}. {_AGAIN}"
    )


def _check_objects(value, what, place):
    if isinstance(value, dict):
        if "class_name" in value and "config" in value:
            _check_object(value, what, place)
            if isinstance(value["config"], dict):
                if value["class_name"] in _CLASSES:
                    _check_fields(value["config"], _FIELDS, what, (*place, "config"))
                try:
                    check_described(value["class_name"], value["config"])
                except InputError as error:
                    raise InputError(f"{what}: {error}") from error
        for key, one in value.items():
            _check_objects(one, what, (*place, key))
    elif isinstance(value, list):
        for i, one in enumerate(value):
            _check_objects(one, what, (*place, i))


def _check_object(value, what, place):
    for key, kinds, expected in (
        ("class_name", str, "a name"),
        ("module", str | None, "a name or null"),
        ("registered_name", str | None, "a name or null"),
        ("config", dict | str | None, "an object"),  # For a function, its name.
    ):
        if key in value and not isinstance(value[key], kinds):
            raise _wrong(what, (*place, key), value[key], expected)
    if not place and not isinstance(value["config"], dict):
        raise _wrong(what, ("config",), value["config"], "an object")
