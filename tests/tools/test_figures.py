"""The figures of docs/explanation: made by `tools/figures.py`, read aloud, and linked to files."""

import importlib.util
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def load(name):
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


figures = load("figures")
docs_figures = load("docs_figures")
DRAWN = [figure() for figure in figures.FIGURES]
each_figure = pytest.mark.parametrize("drawing", DRAWN, ids=lambda drawing: drawing.name)


@each_figure
def test_the_committed_figure_is_what_the_script_draws(drawing):
    assert (figures.FOLDER / f"{drawing.name}.svg").read_text(encoding="utf-8") == drawing.svg()


def test_no_figure_is_left_that_the_script_does_not_draw():
    found = {path.stem for path in figures.FOLDER.glob("*.svg")}
    assert found == {drawing.name for drawing in DRAWN}


@each_figure
def test_every_box_leads_to_a_file(drawing):
    root = ElementTree.fromstring(drawing.svg())
    links = [link.get("href") for link in root.iter(f"{SVG}a")]
    linked = {id(part) for link in root.iter(f"{SVG}a") for part in link.iter(f"{SVG}text")}
    names = [part for part in root.iter(f"{SVG}text") if "name" in part.get("class", "").split()]
    assert links and all((figures.FOLDER / link).resolve().is_file() for link in links)
    assert [part.text for part in names if id(part) not in linked and part.text != "+"] == []


@each_figure
def test_a_figure_is_read_aloud(drawing):
    root = ElementTree.fromstring(drawing.svg())
    by_id = {part.get("id"): part for part in root.iter() if part.get("id")}
    assert root.get("role") != "img"  # of which no text is read, and no link followed
    assert by_id[root.get("aria-labelledby")].tag == f"{SVG}title"
    assert by_id[root.get("aria-describedby")].tag == f"{SVG}desc"
    assert all(by_id[root.get(of)].text for of in ("aria-labelledby", "aria-describedby"))


def test_identifiers_differ_between_figures_of_a_page():
    found = [name for drawing in DRAWN for name in re.findall(r'\bid="([^"]+)"', drawing.svg())]
    assert len(found) == len(set(found))


@each_figure
def test_every_figure_is_shown_on_a_page_with_its_text(drawing):
    pages = [page.read_text(encoding="utf-8") for page in figures.FOLDER.parent.glob("*.md")]
    shown = [
        alt for page in pages for alt in re.findall(rf"!\[(.+)\]\(.*{drawing.name}\.svg\)", page)
    ]
    assert len(shown) == 1


def test_text_that_does_not_fit_its_box_is_refused():
    with pytest.raises(ValueError, match="does not fit a box of 60"):
        figures.Drawing("x", "X", "An x.").box(0, "Too long for it", file="errors.py", width=60)


def test_a_figure_takes_the_place_of_its_image(tmp_path):
    (tmp_path / "explanation").mkdir()
    (tmp_path / "explanation" / "one.svg").write_text('<svg><a href="../x.py">X</a></svg>')
    asked = []

    def link(target, source):
        asked.append((target, source))
        return "https://example.org/x.py"

    html = '<p><img alt="One" src="one.svg" /> <img src="gone.svg"> <img src="a.png"></p>'
    page = "explanation/page.md"
    assert docs_figures.inline_figures(html, page, tmp_path, link) == (
        '<p><svg><a href="https://example.org/x.py">X</a></svg> '
        '<img src="gone.svg"> <img src="a.png"></p>'
    )
    assert asked == [("../x.py", "docs/explanation/one.svg")]


def test_an_image_of_another_host_stays(tmp_path):
    html = '<img src="https://example.org/one.svg">'
    assert docs_figures.inline_figures(html, "a.md", tmp_path, None) == html
