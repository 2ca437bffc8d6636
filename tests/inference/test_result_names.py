import os
from pathlib import Path

import pytest
from PIL import Image

from keras_espmedsam.data import inspect_image_file
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference import result_names
from keras_espmedsam.inference.result_names import ResultNames


@pytest.fixture
def named(tmp_path):
    """Make the files with a number of pages, and name their results; returns these and files."""

    def make(**pages):
        paths = []
        for name, count in pages.items():
            path = tmp_path / name.replace("__", "/")
            path = path.with_name(f"{path.name}.tif")
            path.parent.mkdir(parents=True, exist_ok=True)
            pages = [Image.new("L", (6, 4), 9)] * count
            pages[0].save(path, save_all=True, append_images=pages[1:])
            paths.append(path)
        names = ResultNames(Path("out"), {os.path.abspath(path): path for path in paths})
        return names, [inspect_image_file(path) for path in paths]

    return make


def test_names_of_one_image(named):
    names, (file,) = named(eye=1)
    assert names.masks(file, 0, ["mask"], ["mask"]) == {"mask": Path("out/eye_mask.png")}
    assert names.masks(file, 0, ["b"], ["a", "b"]) == {"b": Path("out/eye_b_mask.png")}
    assert names.instances(file, 0, "mask") == Path("out/eye_instances.png")
    assert names.instances(file, 0, "b", tiff=True) == Path("out/eye_b_instances.tiff")
    assert names.overlay(file, 0) == Path("out/eye_overlay.png")
    assert names.polygons(file, 0, "geojson") == Path("out/eye_polygons.geojson")
    assert names.polygons(file, 0, "coco") == Path("out/coco.json")
    assert names.image(file) == names.image(file, 0) == "eye.tif"


def test_images_of_a_file_are_numbered(named):
    names, (file,) = named(clip=11)
    assert names.masks(file, 1, ["a"], ["a", "b"])["a"].name == "clip_frame02_a_mask.png"
    assert names.instances(file, 1, "a").name == "clip_frame02_a_instances.png"
    assert names.overlay(file, 10).name == "clip_frame11_overlay.png"
    assert names.image(file) == "clip.tif" and names.image(file, 1) == "clip_frame02.tif"


def test_tables_name_files_by_their_path_below_the_common_folder(named, monkeypatch):
    names, files = named(a__1=1, b__1=1, b__deep__2=1)
    assert [names.image(file) for file in files] == ["a/1.tif", "b/1.tif", "b/deep/2.tif"]
    assert names.overlay(files[1], 0).name == "b_1_overlay.png"

    def fail(paths):
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr(result_names.os.path, "commonpath", fail)
    names, files = named(a__1=1, b__1=1)
    assert [names.image(file) for file in files] == ["1.tif", "1.tif"]


def test_a_file_that_is_not_among_them(named):
    names, _ = named(a=1)
    _, (other,) = named(b=1)
    with pytest.raises(InputError, match=r"b\.tif, which is not among the paths"):
        names.overlay(other, 0)
