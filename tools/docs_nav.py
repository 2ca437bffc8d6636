"""The navigation of the documentation: mkdocs.yml's, with `folder/*` for the rest of a folder."""

import posixpath
from collections.abc import Collection
from typing import Any


def expand_nav(nav: list[Any], pages: Collection[str]) -> list[Any]:
    """The navigation with each `folder/*` replaced by the pages of the folder not named before.

    Args:
        nav: as in mkdocs.yml: paths of pages, `{title: path}` and `{title: [...]}`.
        pages: paths of all pages.

    Returns:
        The navigation, in which pages that `folder/*` stands for are sorted by path.
    """
    named = set(_paths(nav))
    return _expanded(nav, pages, named)


def _paths(nav):
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from _paths(value) if isinstance(value, list) else [value]


def _expanded(nav, pages, named):
    expanded = []
    for entry in nav:
        if isinstance(entry, dict):
            ((title, value),) = entry.items()
            inner = _expanded(value, pages, named) if isinstance(value, list) else value
            expanded.append({title: inner})
        elif entry.endswith("/*"):
            folder = entry.removesuffix("/*")
            expanded += sorted(
                page for page in pages if posixpath.dirname(page) == folder and page not in named
            )
        else:
            expanded.append(entry)
    return expanded
