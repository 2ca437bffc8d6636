"""Notebooks as pages of the site."""

import importlib

import pytest
from mkdocs.structure.files import File, Files


@pytest.fixture
def for_the_site(monkeypatch):
    monkeypatch.syspath_prepend("tools")
    module = importlib.import_module("docs_notebooks")
    page, other = (
        File(uri, "docs", "site", use_directory_urls=False)
        for uri in ("tutorials/a.ipynb", "how-to/b.md")
    )

    def changed(html, address="https://host/a/b"):
        return module.for_the_site(html, page, Files([page, other]), address)

    return changed


def test_links_lead_to_pages(for_the_site):
    html = '<a href="https://host/a/b/blob/main/docs/how-to/b.md#c">x</a>'
    assert for_the_site(html) == '<a href="../how-to/b.html#c">x</a>'


@pytest.mark.parametrize(
    "link",
    ["https://host/a/b/blob/main/docs/no.md", "https://host/a/b/blob/main/tools/a.py", "x.html"],
)
def test_other_links_stay(for_the_site, link):
    assert for_the_site(f'<a href="{link}">x</a>') == f'<a href="{link}">x</a>'
    assert for_the_site(f'<a href="{link}">x</a>', None) == f'<a href="{link}">x</a>'


def test_asks_no_other_host(for_the_site):
    script = '<script type="module">import("https://cdn/mermaid.mjs")</script>'
    assert for_the_site(f"a{script}b<script>1</script>") == "ab<script>1</script>"


def test_can_be_downloaded(for_the_site):
    assert '<h1>A</h1>\n<p><a href="a.ipynb" download>' in for_the_site("<h1>A</h1><p>B</p>")
