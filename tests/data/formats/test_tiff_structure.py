"""Directories without end, and strips that are not there."""

import io
import struct

import numpy as np
import pytest

from keras_espmedsam.data import read_image, read_images
from keras_espmedsam.data.formats.tiff_structure import check_directories
from keras_espmedsam.errors import InputError

tifffile = pytest.importorskip("tifffile", reason="needs the extra medical")

RAMP = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


def tiff(pages=1, **options):
    content = io.BytesIO()
    tifffile.imwrite(content, np.stack([RAMP] * pages), photometric="minisblack", **options)
    return bytearray(content.getvalue())


def directories(content, order="<", big=False):
    """Where each begins, and where it says where the next one does."""
    pointer, number, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    place, found = (8 if big else 4), []
    while True:
        (at,) = struct.unpack_from(order + pointer, content, place)
        if not at:
            return found
        (count,) = struct.unpack_from(order + number, content, at)
        place = at + struct.calcsize(order + number) + count * entry
        found.append((at, place))


def entry(content, tag):
    """Where the first page's entry of a tag begins."""
    at, _ = directories(content)[0]
    (count,) = struct.unpack_from("<H", content, at)
    tags = [struct.unpack_from("<H", content, at + 2 + 12 * i)[0] for i in range(count)]
    return at + 2 + 12 * tags.index(tag)


def refused(tmp_path, content):
    path = tmp_path / "scan.tif"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        list(read_images(path))
    return str(caught.value)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("to", [0, 1, 2])
def test_a_circle_is_refused_wherever_it_closes(tmp_path, to, order, big):
    content = tiff(3, byteorder=order, bigtiff=big, metadata=None)
    places = directories(content, order, big)
    struct.pack_into(order + ("Q" if big else "I"), content, places[-1][1], places[to][0])
    assert "runs in a circle" in refused(tmp_path, content)


def test_sound_directories_are_followed_to_their_end(tmp_path):
    for name, options in (("a", {}), ("b", {"bigtiff": True}), ("c", {"byteorder": ">"})):
        path = tmp_path / name
        path.write_bytes(tiff(120, metadata=None, **options))
        check_directories(path)
        images = list(read_images(path))
        assert len(images) == 120
        np.testing.assert_array_equal(images[-1].array, RAMP)


@pytest.mark.parametrize("tag", [256, 257])
@pytest.mark.parametrize(("kind", "count"), [(2, 4), (4, 2), (5, 1), (11, 1), (9, 1)])
def test_a_size_that_is_no_number(tmp_path, tag, kind, count):
    content = tiff()
    struct.pack_into("<HI", content, entry(content, tag) + 2, kind, count)
    struct.pack_into("<i", content, entry(content, tag) + 8, -3)
    said = refused(tmp_path, content)
    assert "damaged" in said or "holds no pixels" in said


def test_millions_of_strips_that_are_not_there(tmp_path):
    content = tiff(rowsperstrip=4)
    for tag, value in ((257, 10**7), (278, 1)):
        struct.pack_into("<HII", content, entry(content, tag) + 2, 4, 1, value)
    assert "promises 10,000,000 strips or tiles but has 1" in refused(tmp_path, content)


def test_thousands_of_channels_are_refused_before_they_are_decoded(tmp_path):
    content = tiff()
    struct.pack_into("<HII", content, entry(content, 277) + 2, 3, 1, 60_000)
    assert "damaged" in refused(tmp_path, content) or "channels" in refused(tmp_path, content)


def test_few_rows_in_a_strip_are_read(tmp_path):
    path = tmp_path / "scan.tif"
    path.write_bytes(tiff(rowsperstrip=1))
    np.testing.assert_array_equal(read_image(path).array, RAMP)
