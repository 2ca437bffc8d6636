import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest

from keras_espmedsam.data import (
    DecodedImage,
    FileFormat,
    Frame,
    ImageSource,
    Layout,
    Record,
    Volume,
    read_image,
    read_samples,
    write_mask,
)
from keras_espmedsam.data.file_names import file_stem
from keras_espmedsam.data.formats.file_kind import FileKind, file_kind
from keras_espmedsam.data.formats.known_formats import get_format, image_suffixes, known_formats
from keras_espmedsam.data.formats.quiet_libraries import quiet_libraries
from keras_espmedsam.errors import InputError, InputWarning
from keras_espmedsam.registries import file_formats


class GreyFormat(FileFormat):
    """One byte for the height, and then the rows."""

    name = "grey"
    suffixes = (".grey", ".grey.zip")

    def open(self, path):
        height, *pixels = path.read_bytes()
        width = len(pixels) // height

        def frames():
            yield Frame(np.array(pixels, np.uint8).reshape(height, width))

        return ImageSource(height, width, 1, frames)


def with_attributes(**attributes):
    return type("ChangedFormat", (GreyFormat,), attributes)


@pytest.fixture
def add():
    added = []

    def register(target, name="grey"):
        file_formats.register(name, target)
        added.append(name)

    yield register
    for name in added:
        file_formats.unregister(name)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.grey"
    path.write_bytes(bytes([2, 10, 20, 30, 40, 50, 60]))
    return path


def test_ours():
    assert [one.name for one in known_formats()] == ["DICOM", "TIFF", "NIfTI", "raster image"]
    assert image_suffixes()[:4] == (".dcm", ".dicom", ".ima", ".tif")
    assert get_format("tiff") is get_format("tiff")
    with pytest.raises(InputError, match="the file format 'tif'; expected one of raster, nifti"):
        get_format("tif")


def test_one_that_is_added_by_its_name_alone(add, path):
    with pytest.raises(InputError, match="not an image"):
        read_image(path)
    add(GreyFormat)
    assert read_image(path).array.tolist() == [[10, 20, 30], [40, 50, 60]]
    assert file_stem(Path("7.b.grey.zip")) == "7.b"
    file_formats.unregister("grey")
    assert file_kind(path) == FileKind()
    assert file_stem(Path("7.b.grey.zip")) == "7.b.grey"


def test_one_that_is_defined_anew_takes_the_older_ones_place(add, path):
    add(GreyFormat)
    assert read_image(path).size == (2, 3)
    file_formats.unregister("grey")
    add(with_attributes(name="greyer"))
    assert file_kind(path).format.name == "greyer"


@pytest.mark.parametrize(
    ("attributes", "head"),
    [
        ({"signatures": ((0, b"\x89PNG"),)}, b"\x89PNG\r\n\x1a\n"),
        ({"signatures": ((0, b"II*\0"),)}, b"II*\0"),
        ({"sniff": lambda self, head, path: path.name == "a.grey"}, b"GIF89a"),
        ({"suffixes": (".grey", ".dng"), "signatures": ((0, b"NRRD"),)}, b"NRRD0004"),
    ],
)
def test_an_added_one_is_asked_before_ours(add, attributes, head):
    add(with_attributes(**attributes))
    assert file_kind(Path("a.grey"), head).format.name == "grey"


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.npy", b"\x93NUMPY"),
        ("a.dng", b"II*\0"),  # TIFF by its content
        ("a.heic", b"\0\0\0\x18ftypheic\0\0"),
        ("a.nrrd", b"NRRD0004"),
        ("a.mp4", b""),
    ],
)
def test_one_that_reads_what_we_do_not(add, name, head):
    """Its suffix is enough."""
    assert file_kind(Path(name), head).unread
    add(with_attributes(suffixes=(Path(name).suffix,)))
    kind = file_kind(Path(name), head)
    assert (kind.format.name, kind.unread) == ("grey", "")


def test_the_content_decides_against_an_added_suffix(add):
    add(GreyFormat)
    assert file_kind(Path("a.grey"), b"II*\0").format is get_format("tiff")
    assert file_kind(Path("a.grey"), b"NRRD0004").unread == "NRRD"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (3, "it is 3"),
        (dict, "it is <class 'dict'>"),
        (GreyFormat(), "it is <.*GreyFormat object"),
        ("no.such.package:Format", "No module named 'no'"),
        (with_attributes(name=""), "it has no name"),
        (with_attributes(suffixes=".grey"), "its suffixes are not a tuple of"),
        (with_attributes(suffixes=()), "its suffixes are not a tuple of"),
        (with_attributes(suffixes=("grey",)), "its suffixes are not a tuple of"),
        (
            with_attributes(suffixes=(".GREY",)),
            "its suffixes are not a tuple of lower-case",
        ),
        (with_attributes(mask_suffixes=[".grey"]), "its mask_suffixes are not a tuple"),
        (with_attributes(signatures=(b"grey",)), r"its signatures are not \(offset, bytes\) pairs"),
        (with_attributes(signatures=((0, "grey"),)), r"its signatures are not \(offset, bytes\)"),
        (with_attributes(signatures=((1022, b"grey"),)), "within the first 1024 bytes"),
        (with_attributes(__init__=lambda self, scale: None), "cannot be created without arguments"),
        (FileFormat, "it has no name"),
    ],
)
def test_one_that_cannot_be_used_is_told_once_and_the_others_are(add, tmp_path, target, message):
    name = f"broken_{tmp_path.name}"
    add(target, name)
    with pytest.warns(InputWarning, match=f"{name}.*{message}.*left out") as caught:
        assert len(known_formats()) == 4
        assert len(known_formats()) == 4
    assert len(caught) == 1
    with pytest.raises(InputError, match=message):
        get_format(name)


def fails(*_):
    raise KeyError("patient")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"sniff": fails}, r"file format grey failed while looking at .*a\.grey \(KeyError"),
        ({"open": fails}, r"a\.grey cannot be decoded \(KeyError\)"),
        ({"open": lambda *_: None}, "file format grey opened .* as NoneType"),
        ({"open": lambda *_: ImageSource(2, 3, 1, fails)}, r"cannot be decoded \(KeyError\)"),
        ({"open": lambda *_: ImageSource(2, 3, 1, lambda: iter(()))}, "cannot be decoded"),
        ({"open": lambda *_: ImageSource(2, 3, 1, lambda: iter([3]))}, "cannot be decoded"),
        ({"open": lambda *_: ImageSource(0, 3, 1, fails)}, "holds no pixels"),
        (
            {"open": lambda *_: ImageSource(2, 3, 1, lambda: iter([Frame(np.zeros((2, 3, 7)))]))},
            r"\(2, 3, 7\)",
        ),
    ],
)
def test_one_that_fails_is_explained(add, path, attributes, message):
    add(with_attributes(**attributes))
    with pytest.raises(InputError, match=message) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_masks_of_a_volume_of_another_format_can_be_nifti(tmp_path):
    """Its affine is all that is needed."""
    nibabel = pytest.importorskip("nibabel", reason="needs the extra medical")
    affine = np.array([[-2.0, 0, 0, 5], [0, -3, 0, 7], [0, 0, 4, -9], [0, 0, 0, 1]])
    image = DecodedImage(np.zeros((4, 5), np.uint8), Path("a.nrrd"), count=2)
    volume = Volume((5, 4, 2), affine)
    image = dataclasses.replace(image, layout=Layout(swap=True), volume=volume)
    masks = np.zeros((2, 4, 5), bool)
    masks[1, 1, 3] = True
    write_mask(tmp_path / "mask.nii.gz", masks, image)
    written = nibabel.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(written.affine, affine)
    assert np.argwhere(np.asarray(written.dataobj)).tolist() == [[3, 1, 1]]


def test_libraries_are_silent_while_one_reads(add):
    add(with_attributes(loggers=("grey.library",)))
    logger = logging.getLogger("grey.library")
    with quiet_libraries:
        assert not logger.isEnabledFor(logging.CRITICAL)
    assert logger.isEnabledFor(logging.CRITICAL)


def test_a_volume_of_another_format_is_compared_by_its_affine(add, tmp_path):
    affine = np.diag([-1.0, -1, 3, 1])

    class VolumeFormat(GreyFormat):
        def open(self, path):
            moved = affine.copy()
            moved[0, 3] = path.read_bytes()[0]
            volume, layout = Volume((3, 2, 1), moved), Layout(swap=True)

            def frames():
                yield Frame(np.full((2, 3), 255, np.uint8), layout, volume)

            return ImageSource(2, 3, 1, frames, layout=layout, volume=volume)

    add(VolumeFormat)
    paths = [tmp_path / f"{place}.grey" for place in (0, 7)]
    for path, place in zip(paths, (0, 7), strict=True):
        path.write_bytes(bytes([place]))
    _, mask = next(read_samples(Record("train", "ct", "d", paths[0], paths[0])))
    assert mask.all()
    with pytest.raises(InputError, match=r"volumes of different place; the mask's origin lies 7"):
        next(read_samples(Record("train", "ct", "d", *paths)))
    write_mask(tmp_path / "mask.png", np.ones((2, 3)))
    with pytest.warns(InputWarning, match="only the image is grey, .* save both as grey"):
        next(read_samples(Record("train", "ct", "d", paths[0], tmp_path / "mask.png")))


def test_the_file_that_is_written_ends_as_the_mask_will(add, tmp_path):
    """Before it gets its name: a writer may choose by the suffix."""
    seen = []

    def write_masks(self, path, masks, reference):
        seen.append(path.name)
        path.write_bytes(bytes(len(masks)))

    add(with_attributes(mask_suffixes=(".grey", ".seg.grey"), write_masks=write_masks))
    write_mask(tmp_path / "new" / "a.seg.grey", np.ones((2, 2, 3)))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.seg.grey"]
    assert (tmp_path / "new" / "a.seg.grey").read_bytes() == bytes(2)
    assert seen[0].endswith(".seg.grey")
    add(with_attributes(mask_suffixes=(".grey2",), suffixes=(".grey2",)), "unwritten")
    with pytest.raises(NotImplementedError, match="write_masks, for its mask_suffixes"):
        write_mask(tmp_path / "a.grey2", np.ones((2, 3)))
    assert not (tmp_path / "a.grey2").exists()
