"""Every message that troubleshooting.md quotes exists in the sources."""

import ast
import functools
import re

import pytest

from tests.docs.page_blocks import ROOT

_PAGE = ROOT / "docs" / "how-to" / "troubleshooting.md"
_SOURCES = ROOT / "keras_espmedsam"
_HEADING = re.compile(r"^### (.+?) \{#[\w-]+\}$", re.MULTILINE)
# In the page and in `_text`: what varies.
_VARIES = "…"


def _quoted():
    """The messages in headings, and those that a paragraph names as "Also"."""
    page = _PAGE.read_text(encoding="utf-8")
    headings = [one for one in _HEADING.findall(page) if one.startswith("`")]
    return [*(one.strip("`") for one in headings), *re.findall(r"Also: `([^`]+)`", page)]


def _text(node):
    """A string or an f-string as in the page; None for another expression."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        parts = (_text(one) if isinstance(one, ast.Constant) else _VARIES for one in node.values)
        return "".join(parts)
    return None


@functools.cache
def _messages():
    found = []
    for path in sorted(_SOURCES.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = (_text(node) for node in ast.walk(tree) if node not in docstrings)
        found += [text for text in texts if text]
    return "\n".join(found)


@pytest.mark.parametrize("message", _quoted())
def test_a_quoted_message_exists(message):
    assert message in _messages(), f"no message of keras_espmedsam contains {message!r}"


def test_every_heading_of_a_message_has_an_anchor():
    page = _PAGE.read_text(encoding="utf-8")
    headings = re.findall(r"^### .+$", page, re.MULTILINE)
    assert len(headings) == len(_HEADING.findall(page)) > 25
    anchors = re.findall(r"\{#([\w-]+)\}$", page, re.MULTILINE)
    assert len(set(anchors)) == len(anchors)
