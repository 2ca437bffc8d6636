"""The name, version and checksum of a model, for DICOM objects."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras_espmedsam
from keras_espmedsam.dicom import ModelIdentity
from keras_espmedsam.hub.built_in_presets import resolve_preset, versioned_name
from keras_espmedsam.hub.checksums import file_sha256
from keras_espmedsam.hub.local_preset import local_preset
from keras_espmedsam.inference.load_models import is_artefact


def model_identity(
    preset: str | os.PathLike, options: Mapping[str, Any] | None = None
) -> ModelIdentity:
    """Return the name, version and checksum of a preset or an exported model.

    Args:
        preset: a built-in name, a folder, an address, or the path of an exported model.
        options: arguments of `segment_files` that change masks, such as
            `{"threshold": 0.4}`: results of other options get other UIDs.

    Returns:
        `ModelIdentity`. The version is that of a built-in preset, otherwise `"1"`.

    Raises:
        InputError: when there is no such preset.

    Example:
        >>> model_identity("espmedsam_nano_256@1").version
        '1'
    """
    name, version = os.fspath(preset), "1"
    if is_artefact(preset):
        path = Path(preset)
        files: Iterable[Path] = path.rglob("*") if path.is_dir() else [path]
        name = path.stem
    else:
        folder = Path(local_preset(resolve_preset(preset)))
        files = [*folder.glob("*.json"), *folder.glob("*.h5")]
        name, _, number = Path(versioned_name(name)).name.rpartition("@")
        if number.isdigit() and name:
            version = number
        else:
            name = folder.name
    digest = hashlib.sha256()
    for file in sorted(path for path in files if path.is_file()):
        digest.update(f"{file.name} {file_sha256(file)}\n".encode())
    text = json.dumps(options or {}, sort_keys=True, default=str)
    return ModelIdentity(name, version, digest.hexdigest(), text, keras_espmedsam.__version__)
