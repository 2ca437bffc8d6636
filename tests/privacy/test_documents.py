"""SECURITY.md and docs/explanation/privacy.md name what there is: tests, limits, links."""

import re
from pathlib import Path

import pytest

from keras_espmedsam.data.formats import time_limit
from keras_espmedsam.data.images import MAX_PIXELS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["SECURITY.md", "docs/explanation/privacy.md"])
def test_links_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^):]+)\)", text)
    files = {link: link.partition("#")[0] for link in links}  # the site's build checks headings
    missing = [link for link, file in files.items() if not ((ROOT / name).parent / file).exists()]
    assert links and not missing, missing


def test_every_kind_of_file_names_its_tests():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 21
    assert all("](tests/" in row for row in rows)


def test_the_limits_are_those_of_the_code():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert f"{MAX_PIXELS // 10**6} million pixels" in text
    assert f"{time_limit.DEFAULT_SECONDS:g} s of computing" in text
    for variable in set(re.findall(r"ESPMEDSAM_\w+", text)):
        files = (ROOT / "keras_espmedsam").rglob("*.py")
        assert any(f'"{variable}"' in path.read_text(encoding="utf-8") for path in files), variable
