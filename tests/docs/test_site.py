"""The built site: it is complete, its links lead somewhere, and it asks no other host.

`make docs` builds it and runs this. By hand: ESPMEDSAM_SITE=site pytest tests/docs/test_site.py
"""

import functools
import os
import posixpath
import re
import urllib.parse
from html.parser import HTMLParser
from pathlib import Path

import pytest

import keras_espmedsam

SITE = os.environ.get("ESPMEDSAM_SITE")
built = pytest.mark.skipif(not SITE, reason="ESPMEDSAM_SITE names no built site: make docs")

# What a browser fetches by itself, where it stands.
FETCHED = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "image": ("href", "xlink:href"),
    "img": ("src", "srcset"),
    "input": ("src",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "track": ("src",),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}
# Kinds of <link> that a browser does not fetch.
NOT_FETCHED = {"alternate", "author", "canonical", "license", "next", "prev", "search"}
ELSEWHERE = re.compile(r"^\s*(?:https?:)?//")
IN_CSS = re.compile(r"(?:@import\s+|url\()\s*[\"']?\s*((?:https?:)?//[^\"')\s]+)")
IN_CODE = re.compile(
    r"(?:\bimport\s*\(|\bfrom\s*|\bimport\s*|fetch\s*\(|importScripts\s*\(|Worker\s*\(|"
    r"\.src\s*=|\.open\s*\([^,()]*,)\s*[\"'`]((?:https?:)?//[^\"'`]+)"
)
# The theme's own script fetches it for diagrams, which no page has: see `test_asks_no_other_host`.
OF_THE_THEME = re.compile(r"https://[^/]+/mermaid@")


class Page(HTMLParser):
    """What the tests look at in a page."""

    def __init__(self, text: str):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.images: list[dict] = []
        self.classes: set[str] = set()
        self.components: set[str] = set()
        self.styles: list[str] = []
        self.scripts: list[str] = []
        self.title = ""
        self.drawings: list[dict] = []
        self._within: list[str] = []
        self._drawing: dict | None = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = {name: value or "" for name, value in attributes}
        self._within = [tag] if tag in ("script", "style", "title") else []
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        self.classes |= set(given.get("class", "").split())
        self.components.add(given.get("data-md-component", ""))
        if "style" in given:
            self.styles.append(given["style"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and not NOT_FETCHED & set(given.get("rel", "").split()):
            self.fetched.append(given.get("href", ""))
        if tag == "img":
            self.images.append(given)
        if tag == "svg" and given.get("role") == "img":
            self._drawing = {"named": bool(given.get("aria-label") or given.get("aria-labelledby"))}
            self.drawings.append(self._drawing)
        if tag == "title" and self._drawing is not None:
            self._drawing["named"] = True
        for name in FETCHED.get(tag, ()):
            if name in given:
                found = given[name]
                self.fetched += (
                    [one.split()[0] for one in found.split(",") if one.strip()]
                    if name == "srcset"
                    else [found]
                )

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag):
        self._within = []
        if tag == "svg":
            self._drawing = None

    def handle_data(self, data):
        if self._within == ["style"]:
            self.styles.append(data)
        elif self._within == ["script"]:
            self.scripts.append(data)
        elif self._within == ["title"] and self._drawing is None:
            self.title += data


@functools.cache
def pages():
    folder = Path(SITE)
    return {
        path.relative_to(folder).as_posix(): Page(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.html"))
    }


def local(page, link):
    """The file and the anchor that a link of a page leads to; None for one that leads elsewhere."""
    if re.match(r"[a-z][a-z0-9+.-]*:", link, re.IGNORECASE) or link.startswith("//"):
        return None
    path, _, anchor = link.partition("#")
    path = urllib.parse.unquote(path.partition("?")[0])
    if path.startswith("/"):
        target = path.lstrip("/")
    else:
        target = posixpath.join(posixpath.dirname(page), path) if path else page
    target = posixpath.normpath(target)
    if (Path(SITE) / target).is_dir():
        target = posixpath.normpath(f"{target}/index.html")
    return target, urllib.parse.unquote(anchor)


@built
def test_has_all_sections():
    missing = {
        f"{section}index.html"
        for section in (
            *("", "tutorials/", "how-to/", "reference/", "reference/api/"),
            *("explanation/", "reports/"),
        )
    } - set(pages())
    assert not missing


@built
def test_names_every_public_class_and_function():
    missing = []
    for room in keras_espmedsam.__all__:
        module = getattr(keras_espmedsam, room)
        page = pages().get(f"reference/api/{room}.html")
        missing += [
            f"{room}.{name}"
            for name in getattr(module, "__all__", ())
            if callable(getattr(module, name))
            and (page is None or f"keras_espmedsam.{room}.{name}" not in page.ids)
        ]
    assert not missing


@built
def test_every_link_leads_somewhere():
    broken = []
    for name, page in pages().items():
        for link in (*page.links, *page.fetched):
            found = local(name, link)
            if found is None or link.startswith("data:"):
                continue
            target, anchor = found
            if not (Path(SITE) / target).is_file():
                broken.append((name, link))
            elif anchor and target in pages() and anchor not in pages()[target].ids:
                broken.append((name, link))
    assert not broken


@built
def test_asks_no_other_host():
    asked = []
    for name, page in pages().items():
        asked += [(name, one) for one in page.fetched if ELSEWHERE.match(one)]
        asked += [(name, one) for style in page.styles for one in IN_CSS.findall(style)]
        asked += [(name, one) for script in page.scripts for one in IN_CODE.findall(script)]
        # The theme's script fetches what draws these, and what it shows of a repository.
        asked += [(name, one) for one in ("mermaid",) if one in page.classes]
        asked += [(name, one) for one in ("source",) if one in page.components]
    for path in Path(SITE).rglob("*.css"):
        asked += [(path.name, one) for one in IN_CSS.findall(path.read_text(encoding="utf-8"))]
    for path in Path(SITE).rglob("*.js"):
        asked += [
            (path.name, one)
            for one in IN_CODE.findall(path.read_text(encoding="utf-8"))
            if not OF_THE_THEME.match(one)
        ]
    assert not asked


@built
def test_every_page_has_a_title_and_every_image_a_text():
    without = [(name, "title") for name, page in pages().items() if not page.title.strip()]
    for name, page in pages().items():
        without += [
            (name, image.get("src", "")[:80])
            for image in page.images
            if not image.get("alt", "").strip()
        ]
        without += [(name, "svg") for drawing in page.drawings if not drawing["named"]]
    assert not without


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://a.example/x.js"></script>',
        '<link rel="stylesheet" href="//a.example/x.css">',
        '<img alt="x" srcset="x.png 1x, https://a.example/x.png 2x">',
        "<style>@import 'https://a.example/x.css';</style>",
        '<p style="background: url(https://a.example/x.png)">x</p>',
        '<script>fetch("https://a.example/x")</script>',
        '<script type="module">const a = await import("https://a.example/x.js")</script>',
    ],
)
def test_sees_what_is_asked_of_another_host(html):
    page = Page(html)
    asked = [
        *(one for one in page.fetched if ELSEWHERE.match(one)),
        *(one for style in page.styles for one in IN_CSS.findall(style)),
        *(one for script in page.scripts for one in IN_CODE.findall(script)),
    ]
    assert len(asked) == 1 and "a.example" in asked[0]
