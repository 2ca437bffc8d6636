"""Read and check the JSON file next to an artefact, which may come from anywhere."""

import math
import os
import re
from pathlib import PurePosixPath

from keras_espmedsam._shown import shown, shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.export.description import targets_of
from keras_espmedsam.export.formats import get_format
from keras_espmedsam.export.request import FLAVORS, OLD_FLAVORS, description_path
from keras_espmedsam.hub.checksums import file_sha256
from keras_espmedsam.hub.json_file import read_json
from keras_espmedsam.imaging.intensity import parse_intensity
from keras_espmedsam.imaging.placement import RESIZE_MODES
from keras_espmedsam.imaging.postprocessing import checked_postprocessing
from keras_espmedsam.imaging.probability_calibration import checked_calibration
from keras_espmedsam.inference.guarantees import checked_guarantees

TOGETHER = "keep the two together, as `espmedsam export` writes them, or export it again"
# Far more than any model here takes at a time.
MAX_SIDE = 2**14
MAX_BATCH = 2**12
MAX_PIXELS = 2**28
_MAX_NAMES = 10_000
_MAX_NAME = 200


def read_description(path):
    """Read the JSON file next to a segmenter's artefact and check every field that is used.

    Args:
        path: `pathlib.Path` of the artefact.

    Returns:
        dict, and the `ExportFormat` that it names.

    Raises:
        InputError: if there is no such file, or a field is missing or wrong; for an artefact of a
            classifier, and one of another format than its name says.
    """
    beside = description_path(path)
    if not os.path.isfile(beside):  # Also false for a name that is too long.
        raise InputError(
            f"The artefact {shown(path)} has no description {shown(beside.name)} next to it; "
            f"{TOGETHER}."
        )
    description = read_json(beside, f"The description {shown(beside.name)} of an artefact")
    task = description.get("task")
    if task == "classification":
        raise InputError(f"{shown(path)} is an artefact for classification, not a segmenter.")
    chosen = None
    if isinstance(description.get("format"), str):
        chosen = get_format(description["format"])
    for key, (needed, expected, right) in _FIELDS.items():
        value = description.get(key)
        # TypeError, KeyError: nested fields are read as if they were right.
        try:
            fits = (not needed and value is None) or right(value)
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
            fits = False
        if not fits:
            found = shown_value(value) if key in description else "nothing"
            raise InputError(
                f"The description {shown(beside.name)} of an artefact has {found} as {key!r}; "
                f"expected {expected}. Get the two files again, or export the model again."
            )
    if not chosen.fits(path):
        raise InputError(
            f"The description {shown(beside.name)} is of an artefact of the format {chosen.name}, "
            f"which {shown(path.name)} is not; {TOGETHER}."
        )
    try:
        targets = targets_of(description)
        checked_postprocessing(description.get("postprocessing"), targets)
        checked_calibration(description.get("probability_calibration"), targets)
        checked_guarantees(description.get("guarantees"), targets)
    except InputError as error:
        raise InputError(
            f"The description {shown(beside.name)} of an artefact contradicts itself: {error} "
            "Get the two files again, or export the model again."
        ) from error
    return description, chosen


def check_files(path, chosen, description):
    """Compare the files of an artefact with the SHA-256 in its description.

    Args:
        path: `pathlib.Path` of the artefact.
        chosen: `ExportFormat`.
        description: dict from `read_description`. One without checksums, not written by this
            package, is not compared.

    Raises:
        InputError: for a file that is missing, not a file, different or not listed.
    """
    for file in _main_files(path, chosen):
        if not os.path.isfile(file):
            raise InputError(f"The artefact {shown(path)} lacks the file {shown(file.name)}.")
    listed = description.get("sha256")
    if not listed:
        return
    listed = _names_now(listed, path, chosen)
    for file in _main_files(path, chosen):
        if file not in listed:
            raise InputError(
                f"The description of {shown(path)} does not list {shown(file.name)} among its "
                f"checksums, so it belongs to another artefact. If an export was killed, repeat it "
                f"with --overwrite; otherwise {TOGETHER}."
            )
    for file, expected in listed.items():
        if not os.path.isfile(file):
            raise InputError(f"The artefact {shown(path)} lacks the file {shown(file.name)}.")
        found = file_sha256(file)
        if found != expected.lower():
            raise InputError(
                f"{shown(file)} is not the file that its description is for: its SHA-256 is "
                f"{found[:12]}..., but expected {shown(expected[:12])}.... It is damaged or was "
                "replaced, or an export was killed; get it again, or export it again with "
                "--overwrite."
            )


def _main_files(path, chosen):
    if chosen.suffix:
        return chosen.files(path)
    return [path / chosen.marker] if chosen.marker else [path]


def _names_now(listed, path, chosen):
    """Return the listed files by their current names: an artefact may have been renamed."""
    found = {}
    for name, digest in listed.items():
        parts = PurePosixPath(name).parts
        if chosen.suffix:
            if len(parts) != 1:
                continue
            suffixes = sorted((chosen.suffix, *chosen.other_suffixes), key=len, reverse=True)
            suffix = next((one for one in suffixes if name.endswith(one)), None)
            if suffix is not None:
                stem = path.name.removesuffix(chosen.suffix)
                found[path.with_name(stem + suffix)] = digest
        elif len(parts) > 1:
            found[path.joinpath(*parts[1:])] = digest
    return found


# === What a description holds ===


def _is_whole(value, most):
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_name(value):
    return isinstance(value, str) and bool(value.strip()) and len(value) <= _MAX_NAME


def _are_names(value):
    return (
        isinstance(value, list)
        and 1 <= len(value) <= _MAX_NAMES
        and all(map(_is_name, value))
        and len(set(value)) == len(value)
    )


def _are_inputs(value):
    shape = value["images"]["shape"]
    batch, height, width, channels = shape
    if not isinstance(shape, list) or channels != 3 or isinstance(channels, bool):
        return False
    if batch is not None and not _is_whole(batch, MAX_BATCH):
        return False
    if (height is None) != (width is None):
        return False
    if height is None:
        return True
    fits = _is_whole(height, MAX_SIDE) and _is_whole(width, MAX_SIDE)
    return fits and (batch or 1) * height * width <= MAX_PIXELS


def _is_normalization(value):
    mean, divisor = value["mean"], value["divisor"]
    rows = all(isinstance(one, list) and len(one) == 3 for one in (mean, divisor))
    return rows and all(map(_is_number, (*mean, *divisor))) and all(one > 0 for one in divisor)


def _are_lists(value):
    """Whether a value is lists of names by modality."""
    return all(isinstance(one, list) and all(map(_is_name, one)) for one in value.values())


def _are_outputs(value):
    for one in value.values():
        shape = one.get("shape")
        if shape is not None and not (isinstance(shape, list) and len(shape) in (1, 2, 3, 4)):
            return False
    return True


def _are_checksums(value):
    if not isinstance(value, dict):
        return False
    for name, digest in value.items():
        path = PurePosixPath(name)
        outside = path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name
        # Including a Windows drive.
        if not name or outside or ":" in name.partition("/")[0][:2]:
            return False
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
            return False
    return True


# By field: whether it is required, what is expected, and a check of the value. Other fields are for
# people and are not checked.
_FIELDS = {
    "task": (True, "segmentation", lambda value: value == "segmentation"),
    "format": (True, "the name of a format", lambda value: isinstance(value, str)),
    "flavor": (
        True,
        " or ".join(FLAVORS),
        lambda value: OLD_FLAVORS.get(value, value) in FLAVORS,
    ),
    "modalities": (
        True,
        f"a list of different names, each of at most {_MAX_NAME} letters",
        _are_names,
    ),
    "inputs": (
        True,
        "an object with images.shape, a list of [batch size or null, height or null, width or "
        f"null, 3], of at most {MAX_SIDE} pixels a side and {MAX_PIXELS} in all",
        _are_inputs,
    ),
    "normalization": (
        True,
        "mean and divisor, each a list of three numbers, those of divisor above 0",
        _is_normalization,
    ),
    "resize_mode": (True, " or ".join(RESIZE_MODES), lambda value: value in RESIZE_MODES),
    "size_multiple": (False, "a number of pixels", lambda value: _is_whole(value, MAX_SIDE)),
    "intensity": (
        False,
        "auto, full or two numbers",
        lambda value: isinstance(value, str | list) and parse_intensity(value) is not None,
    ),
    "threshold": (
        False,
        "a number from 0 to 1",
        lambda value: _is_number(value) and 0 <= value <= 1,
    ),
    "targets": (False, "lists of names by modality", _are_lists),
    "channels": (False, "lists of names by modality", _are_lists),
    "predicts_quality": (False, "lists of targets by modality", _are_lists),
    "tells_scope": (False, "a list of modalities", _are_names),
    "outputs": (False, "an object of outputs, each with its shape", _are_outputs),
    "sha256": (
        False,
        "the SHA-256 of files by name, all within the artefact's own folder",
        _are_checksums,
    ),
}
