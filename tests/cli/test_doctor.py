"""`espmedsam doctor` says what is installed, finds what is broken, and names no one."""

import getpass
import importlib
import json
import platform
import shutil
from importlib import metadata
from pathlib import Path

import keras
import pytest
from typer.testing import CliRunner

from keras_espmedsam.cli.app import app
from keras_espmedsam.cli.doctor import examine
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.built_in_presets import builtin_presets

doctor = importlib.import_module("keras_espmedsam.cli.doctor")
NANO = "espmedsam_nano_256"


def run(*options):
    return CliRunner().invoke(app, ["doctor", *options])


def test_a_sound_installation_has_no_problems():
    result = run("--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["problems"]) == (0, [])
    assert report["backend"]["name"] == keras.config.backend()
    assert "cpu" in report["backend"]["devices"].lower()
    for package in ("keras", "numpy", "keras-espmedsam"):
        assert report["packages"][package] == metadata.version(package)
    for name, entry in builtin_presets().items():
        expected = "checksums match (" if entry["weights"] else "no weights in the package"
        assert report["presets"][name].startswith(expected)


def test_the_table_says_the_same():
    result = run()
    assert result.exit_code == 0
    assert "No problems found." in result.stdout
    assert keras.__version__ in result.stdout and NANO in result.stdout


def test_no_path_and_no_name_is_printed():
    output = run("--json").stdout + run().stdout
    private = (str(Path.home()), str(Path.cwd()), platform.node(), "/site-packages")
    assert not [one for one in private if one and one in output]
    if len(getpass.getuser()) > 4:  # "root" may be a word.
        assert getpass.getuser() not in output


@pytest.fixture
def versions(monkeypatch):
    """`versions(keras="1.0", scipy=None)`: what seems to be installed."""

    def pretend(**changes):
        def version(name):
            if name in changes:
                if changes[name] is None:
                    raise metadata.PackageNotFoundError(name)
                return changes[name]
            return metadata_version(name)

        monkeypatch.setattr(doctor.metadata, "version", version)

    metadata_version = metadata.version
    return pretend


def test_versions_that_are_too_old_or_missing(versions):
    versions(keras="3.14.0", scipy=None, pydicom=None, nibabel="1.0")
    report = examine()
    assert report["packages"]["pydicom"] == "not installed"
    assert len(report["problems"]) == 3  # pydicom is of an extra.
    problems = "\n".join(report["problems"])
    assert (
        "keras 3.14.0 is installed; keras-espmedsam needs <4,>=3.15. Run: pip install" in problems
    )
    assert "scipy is missing" in problems
    assert "nibabel 1.0 is installed" in problems


def test_a_backend_that_does_not_start(monkeypatch):
    def fail(module):
        raise InputError("no") from OSError("/home/someone/libcudart.so: not found")

    monkeypatch.setattr(doctor, "import_with_keras", fail)
    result = run()
    assert result.exit_code == 1
    assert "does not start (OSError)" in " ".join(result.stdout.split())
    assert "someone" not in result.stdout


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [("openvino", "is not supported; expected one of"), (None, "install TensorFlow")],
)
def test_no_backend_of_ours(monkeypatch, chosen, sentence):
    def choose():
        if chosen is None:
            raise ImportError("No backend; install TensorFlow.")
        return chosen

    monkeypatch.setattr(doctor, "choose_backend", choose)
    (problem,) = examine()["problems"]
    assert sentence in problem


def test_damaged_presets(monkeypatch, tmp_path):
    entry = builtin_presets()[NANO]
    monkeypatch.setattr(
        doctor, "builtin_presets", lambda earlier: {NANO: entry | {"path": tmp_path / "a"}}
    )
    shutil.copytree(entry["path"], tmp_path / "a")
    assert examine()["problems"] == []
    (tmp_path / "a" / "task.json").write_text("{}", encoding="utf-8")
    report = examine()
    assert report["presets"] == {NANO: "damaged"}
    assert "missing, damaged or changed" in report["problems"][0]
    (tmp_path / "a" / "SHA256SUMS").unlink()
    assert examine()["presets"] == {NANO: "no checksums"}

    def damaged(earlier):
        raise InputError("The file preset.json is damaged. Install the package again.")

    monkeypatch.setattr(doctor, "builtin_presets", damaged)
    assert examine()["problems"] == ["The file preset.json is damaged. Install the package again."]
