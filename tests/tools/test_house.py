"""What `tools/house.py` sees in a package that is written for it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "house.py"


def load():
    spec = importlib.util.spec_from_file_location("house", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["house"] = module  # dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


house = load()

SOUND = {
    "__init__": "from keras_espmedsam import errors",
    "errors": "",
    "data/__init__": "from keras_espmedsam.data.images import read_image",
    "data/images": "import numpy\nfrom keras_espmedsam.errors import InputError\n",
    "models/__init__": "",
    "models/task": "def load():\n    from ..data import read_image\n",
}


@pytest.fixture
def write(tmp_path):
    def written(**changes):
        files = {**SOUND, **{name.replace("__of__", "/"): text for name, text in changes.items()}}
        for name, text in files.items():
            path = tmp_path / "keras_espmedsam" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return house.House.of(tmp_path)

    return written


def test_a_sound_package(write):
    found = write()
    assert found.imports["data.images"] == {"errors"}
    assert found.imports["models.task"] == {"data"}  # within a function, and relative
    assert set(found.between_rooms()) == {"(front door)", "errors", "data", "models"}
    assert found.upward() == found.file_circles() == found.room_circles() == []


@pytest.mark.parametrize(
    "text",
    [
        "from keras_espmedsam.models import task",
        "import keras_espmedsam.models.task",
        "from ..models import task",
        "def late():\n    from keras_espmedsam.models.task import load",
        "import importlib\nload = importlib.import_module('keras_espmedsam.models.task').load",
    ],
)
def test_an_arrow_that_runs_upward_closes_a_circle(write, text):
    found = write(data__of__images=text)
    assert found.upward() == [("data.images", "models.task")]
    assert found.room_circles() == [["data", "models"]]
    assert found.file_circles() == [["data", "data.images", "models.task"]]


def test_a_file_that_imports_its_own_package_is_a_circle(write):
    found = write(data__of__images="from keras_espmedsam.data import read_mask")
    assert found.file_circles() == [["data", "data.images"]]
    assert found.room_circles() == []


def test_imports_for_type_checkers_do_not_count(write):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import keras_espmedsam.models"
    assert write(data__of__images=text).upward() == []


def test_private_modules_that_are_used_from_outside(write, tmp_path):
    write(_files="")
    (tmp_path / "tools").mkdir()
    text = "from keras_espmedsam._files import atomic_path\nfrom keras_espmedsam import errors\n"
    (tmp_path / "tools" / "cards.py").write_text(text)
    assert house.private_imports(tmp_path) == [("tools/cards.py", "_files.atomic_path")]


@pytest.mark.parametrize("changes, code", [({}, 0), ({"errors": "import keras_espmedsam.cli"}, 1)])
def test_the_command(write, tmp_path, changes, code):
    write(cli="", **changes)
    command = [sys.executable, str(TOOL), "--root", str(tmp_path), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert f"| arrows that run upward | {code} |" in done.stdout
    assert "| data | 2 | 3 | errors |" in done.stdout
