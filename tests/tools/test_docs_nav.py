"""The navigation of the documentation."""

import importlib

import pytest


@pytest.fixture
def docs_nav(monkeypatch):
    monkeypatch.syspath_prepend("tools")
    return importlib.import_module("docs_nav")


def test_rest_of_a_folder(docs_nav):
    nav = [{"How-to": ["a/index.md", {"More": ["a/x.md"]}, "a/*"]}]
    pages = ["a/z.md", "a/x.md", "a/index.md", "a/y.ipynb", "a/b/w.md", "c.md"]
    right = [{"How-to": ["a/index.md", {"More": ["a/x.md"]}, "a/y.ipynb", "a/z.md"]}]
    assert docs_nav.expand_nav(nav, pages) == right


def test_nothing_left_in_a_folder(docs_nav):
    assert docs_nav.expand_nav(["a/x.md", "a/*"], ["a/x.md"]) == ["a/x.md"]
