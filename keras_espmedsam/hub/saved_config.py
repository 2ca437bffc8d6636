"""What a preset says of its model, checked before anything is built of it.

Networks say the same of their sizes when they are built from Python; here a file is refused before
Keras is imported.
"""

import os
import pathlib
from typing import Any

from keras_espmedsam._shown import shown, shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.checksums import LOADED_CONFIGS
from keras_espmedsam.hub.json_file import read_json
from keras_espmedsam.hub.sizes import check_described


def read_config(folder: str | os.PathLike, name: str = "config.json") -> dict[str, Any]:
    """What a file of a preset says, checked as JSON.

    Args:
        folder: path of the preset.
        name: of the file.

    Raises:
        InputError: when it is missing, damaged or no settings.

    Example:
        >>> folder = kem.hub.built_in_presets.presets_dir() / "espmedsam_nano_256"
        >>> read_config(folder, "task.json")["class_name"]
        'ESPMedSAMImageSegmenter'

    Source: ours.
    """
    return read_json(pathlib.Path(folder) / name, f"The file {name} of the preset {folder}")


def check_configs(folder: str | os.PathLike) -> None:
    """Refuse a preset whose files describe no Keras objects.

    Args:
        folder: path of the preset.

    Raises:
        InputError: for the first file that is damaged, or wrong in itself.

    Example:
        >>> check_configs(kem.hub.built_in_presets.presets_dir() / "espmedsam_nano_256")

    Source: ours; the form is Keras'.
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


def _check_objects(value, what, place):
    if isinstance(value, dict):
        if "class_name" in value and "config" in value:
            _check_object(value, what, place)
            if isinstance(value["config"], dict):
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
        ("config", dict | str | None, "an object"),  # Of a function its name.
    ):
        if key in value and not isinstance(value[key], kinds):
            where = shown(".".join(map(str, (*place, key))))
            raise InputError(
                f"{what} has {where}: {shown_value(value[key])}; expected {expected}. Install, "
                "download or save the preset again."
            )
    if not place and not isinstance(value["config"], dict):
        raise InputError(
            f"{what} has config: {shown_value(value['config'])}; expected an object. Install, "
            "download or save the preset again."
        )
