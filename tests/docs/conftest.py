"""A folder of its own for each page, and the counts of what ran."""

import collections
import importlib
import os
import sys

import pytest

from tests.docs.page_blocks import ROOT

# What the pages name as it lies in a checkout.
_OF_THE_REPOSITORY = ("benchmarks", "examples", "presets", "tests", "tools")
_counts = collections.Counter()


def pytest_runtest_logreport(report):
    # Read from the reports: with `-n` the tests run in other processes.
    if report.when == "call":
        for name, value in report.user_properties:
            if name.startswith("blocks: "):
                _counts[name.removeprefix("blocks: ")] += value


def pytest_terminal_summary(terminalreporter):
    if _counts:
        told = ", ".join(f"{count} {name}" for name, count in sorted(_counts.items()))
        terminalreporter.write_line(f"pages: {told}")


@pytest.fixture
def page_folder(tmp_path, monkeypatch):
    """The working folder: empty, but for what is named as in a checkout.

    What a page registers, imports and sets is as before after it.
    """
    keras = importlib.import_module("keras")
    registries = importlib.import_module("keras_espmedsam.registries")
    folder = tmp_path / "page"
    folder.mkdir()
    for name in _OF_THE_REPOSITORY:
        (folder / name).symlink_to(ROOT / name)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)  # As Python does for a script.
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("COLUMNS", "100")
    # Reports and cards call the folder of the labelled images DATA; its files are not read.
    (folder / "DATA").mkdir()
    (folder / "DATA" / "index.csv").touch()
    (folder / "DATA" / "index2.csv").touch()
    monkeypatch.setenv("ESPMEDSAM_DATA", str(folder / "DATA"))

    environment, modules = dict(os.environ), set(sys.modules)
    policy = keras.config.dtype_policy()
    named = [one for one in vars(registries).values() if isinstance(one, registries.Registry)]
    registered = [one.names() for one in named]
    keras.utils.clear_session()
    yield folder
    keras.config.set_dtype_policy(policy)
    for one, names in zip(named, registered, strict=True):
        for name in set(one.names()) - set(names):
            one.unregister(name)
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]
    os.environ.clear()
    os.environ.update(environment)
