"""Figures within the pages of the documentation, so that their boxes are links and text."""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

_FIGURE = re.compile(r'<img\b[^>]*\bsrc="(?P<file>[^":?#]+\.svg)"[^>]*>')
_LINK = re.compile(r'(?P<before><a href=")(?P<target>[^"]+)(?=")')


def inline_figures(html: str, page: str, docs: Path, link: Callable[[str, str], str]) -> str:
    """Put the SVG files of a page in the place of the images that show them.

    A browser follows no link in an image, and a screen reader reads none of its text.

    Args:
        html: the page's content.
        page: path of the page among the pages of the site.
        docs: folder of the pages.
        link: function of a link in a figure and the figure's path in the repository, which gives
            where that link leads from the page.

    Returns:
        The content. Images that are no files of the documentation stay as they are.
    """

    def inlined(found: re.Match) -> str:
        figure = posixpath.normpath(posixpath.join(posixpath.dirname(page), found["file"]))
        path = docs / figure
        if figure.startswith("..") or not path.is_file():
            return found[0]
        return _LINK.sub(
            lambda a: a["before"] + link(a["target"], f"docs/{figure}"),
            path.read_text(encoding="utf-8"),
        )

    return _FIGURE.sub(inlined, html)
