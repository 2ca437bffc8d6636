import gzip
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import read_image
from keras_espmedsam.data.formats.file_kind import FileKind, file_kind
from keras_espmedsam.data.formats.known_formats import get_format
from keras_espmedsam.errors import InputError

DICOM, TIFF, NIFTI, RASTER = map(get_format, ("dicom", "tiff", "nifti", "raster"))
NIFTI_1 = struct.pack("<i", 348) + bytes(340) + b"n+1\0"
NIFTI_2 = struct.pack("<i", 540) + b"n+2\0\r\n\x1a\n" + bytes(500)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (bytes(128) + b"DICM", DICOM),
        (b"II*\0" + bytes(124) + b"DICM", DICOM),  # a preamble for TIFF viewers
        (b"\x08\0\x05\0CS\n\0ISO_IR 100", DICOM),  # without the preamble
        (b"\x08\0\0\0\x04\0\0\0\x5c\x01\0\0", DICOM),  # of implicit types
        (b"II*\0", TIFF),
        (b"MM\0*", TIFF),
        (b"II+\0", TIFF),
        (b"MM\0+", TIFF),
        (NIFTI_1, NIFTI),
        (NIFTI_2, NIFTI),
        (gzip.compress(NIFTI_1, mtime=0), NIFTI),
        (b"\x89PNG\r\n\x1a\n", RASTER),
        (b"\xff\xd8\xff\xe0", RASTER),
        (b"GIF89a", RASTER),
        (b"RIFF\0\0\0\0WEBP", RASTER),
        (b"P6\n4 4 255\n", RASTER),
        (b"Pf\n4 4\n-1.0\n", RASTER),
        (b"BM\x80\0\0\0\0\0\0\0", RASTER),
    ],
)
def test_the_content_decides(head, kind):
    for name in ("1.2.840.113619.2.5", "scan", "scan.IMA", "scan.dcm", "scan.png", "scan.nii.gz"):
        assert file_kind(Path(name), head) == FileKind(kind)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.JFIF", RASTER),
        ("a.Dcm", DICOM),
        ("a.ima", DICOM),
        ("a.svs", RASTER),  # TIFF by its name alone: it may be any other image
        ("a.nii.gz", NIFTI),
        ("a.txt", None),
        ("a", None),
        ("Images of P1 patients.doc", None),
    ],
)
def test_the_name_decides_where_the_content_says_nothing(name, kind):
    assert file_kind(Path(name), b"nothing that is known").format == kind


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
    with pytest.raises(InputError, match=r"format that is not read \(HEIC\); save it as PNG"):
        read_image(path)


def test_jfif_is_jpeg(tmp_path):
    Image.new("L", (9, 8), 70).save(tmp_path / "a.jfif", "JPEG")
    assert read_image(tmp_path / "a.jfif").size == (8, 9)
    assert file_kind(tmp_path / "a.jfif").format == RASTER


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes that are files")
def test_a_pipe_is_not_waited_for(tmp_path):
    subprocess.run(["mkfifo", tmp_path / "pipe"], check=True)
    assert file_kind(tmp_path / "pipe") == FileKind()


@pytest.mark.parametrize("dtype", ["u1", "bool"])
def test_names_without_a_suffix(tmp_path, dtype):
    path = tmp_path / "1.2.826.0.1"
    Image.fromarray(np.eye(4, dtype=dtype)).save(path, "PNG")
    assert read_image(path).size == (4, 4)
