"""The lowest versions are those of pyproject.toml."""

import importlib.util
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load():
    spec = importlib.util.spec_from_file_location("lowest", ROOT / "tools" / "lowest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.lowest


lowest = load()


def test_bounds_of_dependencies_and_extras():
    project = {
        "dependencies": ["keras>=3.15,<4", "numpy >= 2"],
        "optional-dependencies": {"torch": ["torch>=2.6"], "all": ["torch>=2.6", "a[b]>=1.2.3"]},
    }
    assert lowest(project) == ["a==1.2.3", "keras==3.15", "numpy==2", "torch==2.6"]


@pytest.mark.parametrize("requirement", ["keras", "keras<4", "keras==3.15", "keras>3"])
def test_a_requirement_without_a_lower_bound(requirement):
    with pytest.raises(ValueError, match="expected name>=version"):
        lowest({"dependencies": [requirement]})


def test_two_lower_bounds():
    project = {"dependencies": ["numpy>=2"], "optional-dependencies": {"x": ["numpy>=2.1"]}}
    with pytest.raises(ValueError, match=r"numpy has the lower bounds 2 and 2\.1"):
        lowest(project)


def test_this_project():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = lowest(tomllib.loads(text)["project"])
    assert len(found) > 20
    assert any(one.startswith("keras==3.") for one in found)
