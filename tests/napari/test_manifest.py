"""The manifest that napari reads to know the plugin."""

import importlib
import tomllib
from pathlib import Path

from npe2 import PluginManifest

import keras_espmedsam.napari

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = Path(keras_espmedsam.napari.__file__).with_name("napari.yaml")


def test_it_names_functions_that_are_there_and_that_load_without_napari():
    manifest = PluginManifest.from_file(MANIFEST)  # Raises for what npe2 does not know.
    (command,) = manifest.contributions.commands
    (widget,) = manifest.contributions.widgets
    assert widget.command == command.id
    module, name = command.python_name.split(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_the_entry_point_leads_to_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ((name, place),) = project["entry-points"]["napari.manifest"].items()
    assert name == PluginManifest.from_file(MANIFEST).name == project["name"]
    module, file = place.split(":")
    assert Path(importlib.import_module(module).__file__).with_name(file) == MANIFEST
    assert (
        "Framework :: napari" in project["classifiers"]
        and "napari" in (project["optional-dependencies"])
    )
