"""The page for browsers within the documentation."""

import importlib

import pytest


@pytest.fixture
def docs_try(monkeypatch):
    monkeypatch.syspath_prepend("tools")
    return importlib.import_module("docs_try")


def test_the_page_is_copied_if_there_is_one(docs_try, tmp_path, monkeypatch):
    monkeypatch.delenv(docs_try.FOLDER, raising=False)
    assert not docs_try.copy_page(tmp_path / "site")
    made = tmp_path / "made"
    made.mkdir()
    monkeypatch.setenv(docs_try.FOLDER, str(made))
    with pytest.raises(FileNotFoundError, match="did not write"):
        docs_try.copy_page(tmp_path / "site")
    (made / "models.json").write_text("{}")
    assert docs_try.copy_page(tmp_path / "site")
    assert (tmp_path / "site" / "try" / "models.json").read_text() == "{}"
