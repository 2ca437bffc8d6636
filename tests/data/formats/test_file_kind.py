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
