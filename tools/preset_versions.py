"""Keep the newest version of a preset as an earlier one when another takes its place."""

import json

import h5py
import preset_outputs

from keras_espmedsam.hub.built_in_presets import METADATA_FILE


def keep_earlier(source, folder, weights):
    """Move the newest version of a preset to `NAME@VERSION` if another is to take its place.

    Args:
        source: path of what is to be the newest.
        folder: path of the preset, which may not exist.
        weights: bool. Whether the weights are a part of the preset.

    Returns:
        int. The version of `source`.
    """
    if not (folder / METADATA_FILE).exists():
        return 1
    version = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8")).get("version", 1)
    if same_model(source, folder, weights):
        return version
    earlier = folder.with_name(f"{folder.name}@{version}")
    if earlier.exists():
        raise SystemExit(f"{earlier} exists; {folder} has a wrong version in {METADATA_FILE}.")
    folder.rename(earlier)
    preset_outputs.rename(folder.name, earlier.name)
    print(
        f"Kept version {version} as {earlier}; store the numbers of the new one, too: "
        f"python tools/preset_outputs.py {folder.name}"
    )
    return version + 1


def same_model(source, folder, weights):
    """Whether two presets give the same masks: by their weights and what is done before and after.

    Of presets without weights, the configurations are compared. Names and dates, which change
    whenever a preset is saved, do not count.
    """
    if not weights:
        return _configuration(source, "config.json") == _configuration(folder, "config.json")
    one, other = (
        _configuration(place, "image_converter.json").get("config", {})
        for place in (source, folder)
    )
    return (
        _weights(source) == _weights(folder)
        and _after(source) == _after(folder)
        # A key that one of them lacks is newer than that preset, and has its default.
        and all(one[key] == other[key] for key in one.keys() & other.keys())
        # Sizes of single modalities are left out where there are none.
        and (one.get("image_sizes") or {}) == (other.get("image_sizes") or {})
    )


def _after(folder):
    """Return what is made of the outputs of a preset's network; None where nothing is."""
    config = _configuration(folder, "task.json").get("config", {})
    names = ("postprocessing", "probability_calibration", "guarantees", "quality")
    return [config.get(name) or None for name in names]


def _configuration(folder, file):
    def without_names(value):
        if isinstance(value, list):
            return [without_names(one) for one in value]
        if isinstance(value, dict):
            return {key: without_names(one) for key, one in value.items() if key != "name"}
        return value

    path = folder / file
    return without_names(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _weights(folder):
    found = {}
    for path in folder.glob("*.weights.h5"):
        with h5py.File(path) as file:
            file.visititems(
                lambda name, item, file=path.name: found.update(
                    {f"{file}/{name}": (item.shape, item[()].tobytes())}
                    if isinstance(item, h5py.Dataset)
                    else {}
                )
            )
    return found
