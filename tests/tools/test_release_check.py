"""What is looked for in a wheel and an sdist."""

import importlib
import io
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def release_check():
    sys.path.insert(0, str(TOOLS))
    yield importlib.import_module("release_check")
    sys.path.remove(str(TOOLS))


@pytest.fixture
def write(tmp_path, release_check):
    def written(wheel=(), sdist=()):
        name = tmp_path / "keras_espmedsam-1.2.0"
        with zipfile.ZipFile(f"{name}-py3-none-any.whl", "w") as archive:
            for one in wheel or release_check.IN_THE_WHEEL:
                archive.writestr(one, "")
        with tarfile.open(f"{name}.tar.gz", "w:gz") as archive:
            for one in sdist or release_check.IN_THE_SDIST:
                archive.addfile(tarfile.TarInfo(f"{name.name}/{one}"), io.BytesIO())
        return tmp_path

    return written


def test_a_tag_is_that_of_the_version(release_check):
    release_check.check_tag("v1.2.0", "1.2.0")
    for tag in ("1.2.0", "v1.2", "v1.2.0rc1"):
        with pytest.raises(SystemExit, match=rf"the tag {tag} for version 1\.2\.0"):
            release_check.check_tag(tag, "1.2.0")


def test_files_that_hold_what_they_should(release_check, write):
    wheel, sdist = release_check.check_built(write(), "1.2.0")
    assert (wheel.suffix, sdist.suffix) == (".whl", ".gz")


@pytest.mark.parametrize(
    "wheel, sdist, message",
    [
        (("a.py",), (), r"\.whl lacks keras_espmedsam/cli/main\.py, .*py\.typed"),
        ((), ("a.py",), r"\.tar\.gz lacks ARCHITECTURE\.md"),
    ],
)
def test_files_that_lack_something(release_check, write, wheel, sdist, message):
    with pytest.raises(SystemExit, match=message):
        release_check.check_built(write(wheel, sdist), "1.2.0")


def test_a_wheel_with_tests(release_check, write):
    folder = write(wheel=(*release_check.IN_THE_WHEEL, "tests/test_a.py"))
    with pytest.raises(SystemExit, match=r"holds tests/test_a\.py"):
        release_check.check_built(folder, "1.2.0")


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_weights_of_an_earlier_version(release_check, write, kind):
    name = "presets/eye@1/model.weights.h5"
    name = f"keras_espmedsam/{name}" if kind == "wheel" else name
    held = {"wheel": release_check.IN_THE_WHEEL, "sdist": release_check.IN_THE_SDIST}[kind]
    with pytest.raises(SystemExit, match=r"eye@1/model\.weights\.h5, the weights of an earlier"):
        release_check.check_built(write(**{kind: (*held, name)}), "1.2.0")


def test_another_version(release_check, write):
    with pytest.raises(SystemExit, match=r"Found 0 files keras_espmedsam-1\.3\.0"):
        release_check.check_built(write(), "1.3.0")
