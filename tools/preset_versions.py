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
    """Whether two presets have the same weights; of those without weights, the same configuration.

    Names and dates, which change whenever a preset is saved, do not count.
    """
    if not weights:
        return _configuration(source) == _configuration(folder)
    return _weights(source) == _weights(folder)


def _configuration(folder):
    def without_names(value):
        if isinstance(value, list):
            return [without_names(one) for one in value]
        if isinstance(value, dict):
            return {key: without_names(one) for key, one in value.items() if key != "name"}
        return value

    return without_names(json.loads((folder / "config.json").read_text(encoding="utf-8")))


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
