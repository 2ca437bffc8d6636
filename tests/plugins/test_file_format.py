"""A file format of another package: NumPy arrays, which are not read without it."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from keras_espmedsam.cli.app import app
from keras_espmedsam.data import (
    Record,
    check_records,
    read_folder,
    read_image,
    read_images,
    read_index,
    read_mask,
    read_masks,
    read_samples,
    write_mask,
)
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference import segment_files
from keras_espmedsam.registries import file_formats

PLUGIN = """
import numpy as np

from keras_espmedsam.data import FileFormat, Frame, ImageSource


class NumpyFormat(FileFormat):
    name = "NumPy"
    suffixes = (".npy",)
    signatures = ((0, b"\\x93NUMPY"),)
    image_word = "plane"
    mask_suffixes = (".npy",)

    def open(self, path):
        array = np.load(path, mmap_mode="r")
        planes = array if array.ndim == 3 else array[None]
        count, height, width = planes.shape
        return ImageSource(height, width, count, lambda: (Frame(np.array(one)) for one in planes))

    def write_masks(self, path, masks, reference):
        np.save(path, np.stack(masks).astype("uint8"))
"""
PLANES = np.arange(2 * 4 * 6, dtype=np.uint8).reshape(2, 4, 6) * 5
MASKS = PLANES > 120


class BrightnessSegmenter:
    """Foreground is what is brighter than the threshold."""

    modalities = ("xray", "fundus")
    intensity = "auto"

    def segment(self, images, modalities, threshold=0.5, **options):
        unit = [np.asarray(image) / 255 for image in images]
        masks = [u >= threshold for u in unit]
        return {"masks": masks, "probabilities": unit, "blank": [False] * len(unit)}


@pytest.fixture
def array(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("scans/7.npy")
    path.parent.mkdir()
    np.save(path, PLANES)
    return path


@pytest.fixture(params=["an entry point", "a call"])
def numpy_format(request, installed_plugin):
    """Both ways of adding it."""
    if request.param == "an entry point":
        entries = {"file_formats": {"npy": "npy_images:NumpyFormat"}}
        installed_plugin({"npy_images.py": PLUGIN}, entries)
    else:
        installed_plugin({"npy_images.py": PLUGIN})
        file_formats.register("npy", "npy_images:NumpyFormat")
    yield
    file_formats.unregister("npy")


def test_without_it(array):
    with pytest.raises(InputError, match=r"unsupported format \(array file\)"):
        read_image(array)


def test_images_and_masks(array, numpy_format):
    images = list(read_images(array))
    assert [(one.index, one.count, one.stem) for one in images] == [(0, 2, "7"), (1, 2, "7")]
    np.testing.assert_array_equal([one.array for one in images], PLANES)
    write_mask("mask.npy", MASKS, images[0])
    np.testing.assert_array_equal(np.load("mask.npy"), MASKS)
    np.testing.assert_array_equal(list(read_masks("mask.npy")), MASKS)
    np.save("one.npy", PLANES[1])
    np.testing.assert_array_equal(read_image("one.npy").array, PLANES[1])
    np.save("one.npy", np.where(MASKS[1], 255, 0).astype("uint8"))
    np.testing.assert_array_equal(read_mask("one.npy"), MASKS[1])


def test_a_wrong_name_and_a_damaged_file(array, numpy_format):
    np.testing.assert_array_equal(next(read_images(array.rename("7.png"))).array, PLANES[0])
    with pytest.raises(InputError, match="24 pixels; the limit is 23"):
        list(read_images("7.png", max_pixels=23))
    content = Path("7.png").read_bytes()
    Path("cut.npy").write_bytes(content[:-5])
    with pytest.raises(InputError, match=r"cut.npy cannot be decoded .* cut short or damaged"):
        list(read_images("cut.npy"))


def test_folders_and_indexes(array, numpy_format):
    Path("all/images").mkdir(parents=True)
    Path("all/masks").mkdir()
    np.save("all/images/7.npy", PLANES)
    np.save("all/masks/7_mask.npy", MASKS.astype("uint8"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is left out
        records = read_folder("all", "xray")
    assert [(one.image.name, one.mask.name) for one in records] == [("7.npy", "7_mask.npy")]
    Path("index.csv").write_text(
        "split,modality,dataset,image,mask\ntrain,xray,d,all/images/7.npy,all/masks/7_mask.npy\n"
    )
    for found in (records, read_index("index.csv")):
        good, left_out = check_records(found)
        assert ([one.index for one in good], left_out) == ([0, 1], [])
        for record in good:
            ((image, mask),) = read_samples(record)
            np.testing.assert_array_equal(image.array, PLANES[record.index])
            np.testing.assert_array_equal(mask, MASKS[record.index])
    np.save("all/masks/7_mask.npy", MASKS[:, :3].astype("uint8"))
    with pytest.raises(InputError, match=r"has 6 x 4 pixels and its mask .* 6 x 3"):
        check_records(records)
    mixed = Record("train", "xray", "d", Path("all/images/7.npy"), Path("mask.png"))
    Image.fromarray(MASKS[0]).save("mask.png")
    with pytest.raises(InputError, match=r"holds 2 images and its mask mask\.png 1"):
        list(read_samples(mixed))


def test_segment_files(array, numpy_format):
    found = list(segment_files(BrightnessSegmenter(), "scans", "xray", threshold=0.5))
    assert [(one.path, one.index, one.count, one.error) for one in found] == [
        (array, k, 2, None) for k in range(2)
    ]
    np.testing.assert_array_equal([one.mask for one in found], PLANES >= 127.5)


def test_the_command(array, numpy_format, monkeypatch):
    from keras_espmedsam.cli import segment

    monkeypatch.setattr(segment, "check_preset", lambda *given: None)
    loaded = BrightnessSegmenter()
    monkeypatch.setattr(segment, "load_segmenter", lambda preset, *options: loaded)
    Image.fromarray(PLANES[0]).save("scans/eye.png")
    arguments = ["segment", "scans", "--modality", "xray", "--overlay"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "2 of 2 files segmented" in done.stderr
    assert sorted(path.name for path in Path("masks").iterdir()) == [
        "7_mask.npy",
        "7_plane1_overlay.png",
        "7_plane2_overlay.png",
        "eye_mask.png",
        "eye_overlay.png",
    ]
    np.testing.assert_array_equal(np.load("masks/7_mask.npy"), PLANES >= 127.5)
    # A second run finds results, and takes none of them for an image.
    again = CliRunner().invoke(app, [*arguments[:1], ".", *arguments[2:], "--overwrite"])
    assert again.exit_code == 0, again.output
    assert "2 of 2 files segmented" in again.stderr
