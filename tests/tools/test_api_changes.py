"""Which breaks are accepted, and which names are found under their old name."""

import importlib.util
import tomllib
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def api_changes():
    spec = importlib.util.spec_from_file_location("api_changes", TOOLS / "api_changes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "path, entry",
    [
        ("kem.a.b", "kem.a.b"),
        ("kem.cli.segment.segment", "kem.cli"),
        ("kem.client", None),
        ("kem", None),
    ],
)
def test_an_entry_accepts_what_lies_in_it(api_changes, path, entry):
    assert api_changes.entry_for(path, {"kem.a.b": "", "kem.cli": ""}) == entry


@pytest.mark.parametrize(
    "path, found",
    [
        ("keras_espmedsam.checksums", True),  # a module of 0.1.0
        ("keras_espmedsam.data.read_picture", True),  # a function of 0.1.0
        ("keras_espmedsam.data.record.Record.path", False),  # no attribute of the class
        ("keras_espmedsam.errors.InputError.args", True),
        ("keras_espmedsam.never_there", False),
        ("keras_espmedsam.never_there.of_this_name", False),
    ],
)
def test_what_python_finds(api_changes, path, found):
    assert api_changes.is_found(path) is found


def test_every_accepted_break_has_a_reason():
    accepted = tomllib.loads((TOOLS / "accepted_breaks.toml").read_text(encoding="utf-8"))[
        "accepted"
    ]
    assert all(name.startswith("keras_espmedsam.") for name in accepted)
    assert all(len(reason) > 15 for reason in accepted.values())
