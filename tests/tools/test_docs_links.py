"""Links of the documentation's pages, rewritten for the site."""

import importlib

import pytest


@pytest.fixture
def rewrite(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend("tools")
    for file in (
        "docs/how-to/export.md",
        "docs/reports/results/a.csv",
        "tools/a.py",
        "SECURITY.md",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    links = importlib.import_module("docs_links")
    pages = {"SECURITY.md": "project/security.md"}

    def rewritten(text, source="docs/how-to/export.md", page=None, address="https://host/a/b"):
        page = page or source.removeprefix("docs/")
        return links.rewrite_links(text, source, page, pages, tmp_path, address)

    return rewritten


@pytest.mark.parametrize(
    ("link", "right"),
    [
        ("../../tools/a.py", "https://host/a/b/blob/main/tools/a.py"),
        ("../../tools/a.py#L3", "https://host/a/b/blob/main/tools/a.py#L3"),
        ("../../tools", "https://host/a/b/tree/main/tools"),
        ("../reports/results", "https://host/a/b/tree/main/docs/reports/results"),
        ("../reports/results/a.csv", "../reports/results/a.csv"),
        ("../../SECURITY.md#report", "../project/security.md#report"),
        ("export.md#onnx", "export.md#onnx"),
        ("#onnx", "#onnx"),
        ("https://host/x", "https://host/x"),
        ("mailto:a@host", "mailto:a@host"),
        ("../../no_such_file.py", "../../no_such_file.py"),
    ],
)
def test_link_of_a_page(rewrite, link, right):
    assert rewrite(f"See [`this`]({link}), now.") == f"See [`this`]({right}), now."


def test_link_of_a_file_at_the_root(rewrite):
    text = "[a](docs/how-to/export.md) [b](SECURITY.md) [c](tools/a.py)"
    right = "[a](../how-to/export.md) [b](security.md) [c](https://host/a/b/blob/main/tools/a.py)"
    assert rewrite(text, "CHANGELOG.md", "project/changelog.md") == right


def test_without_an_address_the_text_is_left(rewrite):
    text = "[`a`](../../tools/a.py) and [b](export.md)"
    assert rewrite(text, address=None) == "`a` and [b](export.md)"


@pytest.mark.parametrize(
    "code",
    [
        "`[a](../../tools/a.py)`",
        "```md\n[a](../../tools/a.py)\n```",
        "~~~\n[a](../../tools/a.py)\n~~~",
        "<!-- [a](../../tools/a.py) -->",
    ],
)
def test_code_stays(rewrite, code):
    assert rewrite(f"{code}\n") == f"{code}\n"
    after = rewrite(f"{code}\n\n[a](../../tools/a.py)\n")
    assert after == f"{code}\n\n[a](https://host/a/b/blob/main/tools/a.py)\n"
