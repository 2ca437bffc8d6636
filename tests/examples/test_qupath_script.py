"""The script for QuPath looks for the files that the command writes."""

import re
from pathlib import Path

import pytest

from keras_espmedsam.data.file_names import file_stem

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "qupath" / "import_outlines.groovy"


@pytest.mark.parametrize("name", ["cells.png", "slide.v2.SVS", "scan.ome.tif", "scan.OME.tiff"])
def test_it_finds_the_outlines_of_an_image(name):
    text = SCRIPT.read_text()
    (pattern,) = re.findall(r"replaceFirst\(/(.+)/, \"\"\)", text)
    (ending,) = re.findall(r'stem \+ "(.+)"', text)
    # As `ResultNames.polygons`, whose files of one image have no number.
    assert (
        re.sub(pattern, "", name, count=1) + ending == f"{file_stem(Path(name))}_polygons.geojson"
    )
