import struct
from pathlib import Path

import pytest

from keras_espmedsam.data import read_image
from keras_espmedsam.data.formats.file_kind import FileKind, file_kind
from keras_espmedsam.data.formats.unread import described
from keras_espmedsam.errors import InputError

NIFTI_1 = struct.pack("<i", 348) + bytes(340) + b"n+1\0"


@pytest.mark.parametrize(
    ("name", "head", "unread"),
    [
        ("a.heic", b"", "HEIC"),
        ("a.jpg", b"\0\0\0\x18ftypheic\0\0", "HEIC"),
        ("a", b"\0\0\0\x18ftypavif\0\0", "AVIF"),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        ("a", b"\xff\x4f\xff\x51\0", "JPEG 2000"),
        ("a.jxl", b"\xff\x0a", "JPEG XL"),
        ("a.nrrd", b"NRRD0004\n", "NRRD"),
        ("a.mha", b"ObjectType = Image\n", "MetaImage"),
        ("a.mhd", b"NDims = 3\n", "MetaImage"),
        ("a.dng", b"II*\0", "camera raw"),
        ("a.hdr", NIFTI_1[:344] + b"ni1\0", "NIfTI as a pair of .hdr and .img"),
        ("a.img", b"\0\1\2", "Analyze or NIfTI as a pair of .hdr and .img"),
        ("a.npy", b"\x93NUMPY", "array file"),
        ("a.mp4", b"\0\0\0\x18ftypisom", "video"),
    ],
)
def test_formats_that_are_not_read_have_a_name(name, head, unread):
    assert file_kind(Path(name), head) == FileKind(unread=unread)


def test_a_format_that_is_not_read_is_told(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(InputError, match=r"unsupported format \(HEIC\); save it as PNG"):
        read_image(path)


def test_the_first_ones_are_named():
    files = {Path(f"a/{k}.heic"): "HEIC" for k in range(5)}
    assert described(files) == "0.heic: HEIC, 1.heic: HEIC, 2.heic: HEIC, and 2 more"
    assert described(files, most=5).endswith("4.heic: HEIC")
