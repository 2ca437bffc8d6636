"""The documents at the root, for those who work on the package, name what there is."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("ARCHITECTURE.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md")
FOLDERS = "benchmarks|docs|examples|keras_espmedsam|presets|tests|tools|\\.ci|\\.github"
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*DOCUMENTS, "README.md", "CHANGELOG.md"])
def test_links_lead_to_files(name):
    links = re.findall(r"\]\(([^):#]+)(?:#[^)]*)?\)", text_of(name))
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_named_files_exist(name):
    # MY_LOSS stands for a name of the reader's.
    named = re.findall(
        rf"`((?:{FOLDERS})/[\w./-]*|[\w.-]+\.(?:md|toml|cff|yml|yaml))`", text_of(name)
    )
    missing = [one for one in named if "MY_" not in one and not (ROOT / one).exists()]
    assert missing == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets_exist(name):
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", text_of(name), re.M))
    assert named <= TARGETS | {"test-torch", "test-tensorflow", "test-jax", "test-no-backend"}


def test_architecture_draws_every_room():
    # In the drawing or in a table; the ground is too many to draw.
    text = text_of("ARCHITECTURE.md")
    package = ROOT / "keras_espmedsam"
    rooms = [path.parent.name for path in package.glob("*/__init__.py")]
    assert [room for room in rooms if not re.search(rf"\b{room}\b", text)] == []


def test_architecture_names_every_file_of_a_path_in_full():
    steps = re.findall(r"^\| \d+ \| `([^`]+)`", text_of("ARCHITECTURE.md"), re.M)
    assert len(steps) == 24
    assert all((ROOT / step).is_file() for step in steps)


def test_contributing_names_every_registry():
    from keras_espmedsam import registries

    text = text_of("CONTRIBUTING.md")
    assert [name for name in registries.__all__ if name != "Registry" and name not in text] == []


def test_the_sdist_holds_the_documents_and_what_make_needs():
    project = tomllib.loads(text_of("pyproject.toml"))
    include = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {f"/{name}" for name in (*DOCUMENTS, "CHANGELOG.md", "mkdocs.yml")} <= set(include)
    assert [one for one in include if not (ROOT / one.lstrip("/")).exists()] == []


def test_one_version():
    version = tomllib.loads(text_of("pyproject.toml"))["project"]["version"]
    assert f"\nversion: {version}\n" in text_of("CITATION.cff")
    init = (ROOT / "keras_espmedsam" / "__init__.py").read_text(encoding="utf-8")
    assert f'\n__version__ = "{version}"\n' in init
    assert f"## [{version}]" in text_of("CHANGELOG.md")
