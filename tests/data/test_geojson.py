import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from keras_espmedsam.data import count_objects, read_image
from keras_espmedsam.data.geojson import write_geojson
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.target_colours import ONLY, target_colours


def scene():
    labels = np.zeros((9, 12), np.int32)
    labels[1:6, 1:6] = 1
    labels[3, 3] = 0
    labels[1:4, 6:9] = 4
    labels[4, 9] = 4  # Touches the rest at a corner.
    return labels


def drawn(geometry, shape):
    """Draw a geometry by Pillow at three times the size, and read the middle of each pixel."""
    image = Image.new("1", (3 * shape[1] + 1, 3 * shape[0] + 1))
    draw = ImageDraw.Draw(image)
    parts = geometry["coordinates"]
    for outline, *holes in [parts] if geometry["type"] == "Polygon" else parts:
        for ring, value in ((outline, 1), *((hole, 0) for hole in holes)):
            assert ring[0] == ring[-1]
            draw.polygon([(3 * x, 3 * y) for x, y in ring[:-1]], fill=value)
    return np.asarray(image)[1::3, 1::3]


def features_of(path):
    content = json.loads(path.read_text())
    assert content["type"] == "FeatureCollection"
    assert all(one["type"] == "Feature" for one in content["features"])
    return content["features"]


def test_each_object_is_a_detection_and_each_mask_an_annotation(tmp_path):
    labels = scene()
    path = tmp_path / "cells.geojson"
    write_geojson(path, {"nuclei": labels, "tissue": labels != 1, "tumour": labels < 0})
    features = features_of(path)
    colours = target_colours(("nuclei", "tissue", "tumour"))
    said = [one["properties"] for one in features]
    nuclei = {"name": "nuclei", "color": list(colours["nuclei"])}
    assert said == [
        {"objectType": "detection", "classification": nuclei, "name": "1"},
        {"objectType": "detection", "classification": nuclei, "name": "4"},
        {
            "objectType": "annotation",
            "classification": {"name": "tissue", "color": list(colours["tissue"])},
        },
    ]
    assert [one["geometry"]["type"] for one in features] == [
        "Polygon",
        "MultiPolygon",
        "MultiPolygon",
    ]
    for feature, expected in zip(features, (labels == 1, labels == 4, labels != 1), strict=True):
        found = drawn(feature["geometry"], labels.shape)
        # Of overlapping parts, a hole drawn later would hide an island; here it is outside.
        assert (found[:, 6:] == expected[:, 6:]).all()
    assert (drawn(features[0]["geometry"], labels.shape) == (labels == 1)).all()


def test_colours_are_those_of_overlays_whatever_is_drawn(tmp_path):
    path = tmp_path / "eye.geojson"
    mask = np.ones((2, 2), bool)
    write_geojson(path, {"disc": mask}, targets=("vessels", "disc"))
    (feature,) = features_of(path)
    expected = list(target_colours(("vessels", "disc"))["disc"])
    assert feature["properties"]["classification"]["color"] == expected
    write_geojson(path, {"disc": mask})
    assert features_of(path)[0]["properties"]["classification"]["color"] == list(ONLY)


def test_nothing_found_is_a_collection_of_nothing(tmp_path):
    write_geojson(tmp_path / "cells.geojson", {"nuclei": np.zeros((3, 4), np.int32)})
    assert features_of(tmp_path / "cells.geojson") == []
    write_geojson(tmp_path / "none.geojson", {})
    assert features_of(tmp_path / "none.geojson") == []


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_outlines_lie_on_the_stored_image(tmp_path, save, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_image(save(np.zeros((6, 9), np.uint8), "photo.jpg", exif=exif))
    labels = np.zeros(image.size, int)
    labels[:2, :3] = 1
    write_geojson(tmp_path / "photo.geojson", {"nuclei": labels}, image)
    (feature,) = features_of(tmp_path / "photo.geojson")
    assert (drawn(feature["geometry"], (6, 9)) == image.layout.undo(labels)).all()


def test_what_does_not_fit_is_said_and_leaves_the_old_file(tmp_path, save):
    path = tmp_path / "cells.geojson"
    path.write_text("old")
    image = read_image(save(np.zeros((6, 9), np.uint8)))
    with pytest.raises(InputError, match=r"label image of shape \(9, 12\) for .*has \(6, 9\)"):
        write_geojson(path, {"nuclei": scene()}, image)
    with pytest.raises(InputError, match="type float64; expected integers"):
        write_geojson(path, {"nuclei": scene() / 2})
    with pytest.raises(InputError, match=r"Received labels from -1 to .*; expected 0 for the back"):
        write_geojson(path, {"nuclei": scene().astype(int) - 1})
    assert path.read_text() == "old"


@pytest.mark.parametrize("write", [write_geojson, lambda _, objects: count_objects("a", objects)])
def test_objects_without_a_target_are_rejected(tmp_path, write):
    with pytest.raises(InputError, match="expected a dict of target to mask"):
        write(tmp_path / "a.geojson", np.ones((2, 2), "int32"))
