"""Build the wheel with the weights of earlier versions of the presets; a part of `make wheel`.

    python tools/earlier_presets.py --output dist

The package itself has every file of an earlier version, `presets/NAME@VERSION`, except the weights:
few people need them, and they are larger than those of the newest versions. This wheel,
keras-espmedsam-earlier-presets, puts them into the same folders of the installed package, so that
`from_preset("NAME@VERSION")` finds them, without a download of its own, also where only a mirror of
the package index can be reached. In a checkout they are in the folders already.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile
import tomllib

from keras_espmedsam.hub.built_in_presets import EARLIER_PACKAGE

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
PRESETS = REPOSITORY / "presets"
PROJECT = """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "{version}"
description = "Weights of earlier versions of the presets of keras-espmedsam."
readme = "README.md"
requires-python = "{python}"
dependencies = ["keras-espmedsam>={version}"]

[tool.hatch.build.targets.wheel]
only-include = ["keras_espmedsam"]
"""
README = """\
# {name}

The weights of earlier versions of the presets that come with keras-espmedsam:

{listed}

Their terms are in their cards: `espmedsam presets NAME@VERSION`.
"""


def earlier_weights(presets=PRESETS):
    """The files that the wheel holds: the weights in the folders `NAME@VERSION`, sorted."""
    return sorted(presets.glob("*@*/*.h5"))


def write_project(folder, weights):
    """Write the project that is built.

    Args:
        folder: path of an empty folder.
        weights: list of paths, from `earlier_weights`.
    """
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = dict.fromkeys(file.parent.name for file in weights)
    (folder / "pyproject.toml").write_text(
        PROJECT.format(
            name=EARLIER_PACKAGE, version=project["version"], python=project["requires-python"]
        ),
        encoding="utf-8",
    )
    (folder / "README.md").write_text(
        README.format(name=EARLIER_PACKAGE, listed="\n".join(f"- `{name}`" for name in names)),
        encoding="utf-8",
    )
    for file in weights:
        place = folder / "keras_espmedsam" / "presets" / file.parent.name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place / file.name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, default=REPOSITORY / "dist")
    parser.add_argument(
        "--no-isolation", action="store_true", help="build with the hatchling that is installed"
    )
    options = parser.parse_args()
    weights = earlier_weights()
    if not weights:
        print("No preset has an earlier version with weights: there is no wheel to build.")
        return
    with tempfile.TemporaryDirectory(prefix="earlier_presets_") as folder:
        write_project(pathlib.Path(folder), weights)
        command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(options.output)]
        command += ["--no-isolation"] * options.no_isolation
        subprocess.run([*command, folder], check=True)


if __name__ == "__main__":
    main()
