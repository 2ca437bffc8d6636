"""What is said of files whose headers are damaged, or hold a text where a number is due."""

import logging
import traceback
import warnings

import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.data.masks import read_mask
from tests.privacy import planted_files

FIELD = f"{planted_files.WORD}^FIELD".encode()


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """dict of the suffix to the content of an image of every format."""
    folder = tmp_path_factory.mktemp("sound")
    return {name: path.read_bytes() for name, path in planted_files.plant_images(folder).items()}


@pytest.fixture
def said(tmp_path, capfd, caplog):
    """`said(path)`: what reading a file says, in tracebacks, warnings, logs and on the terminal."""

    def read(path):
        texts = []
        with warnings.catch_warnings(record=True) as told, caplog.at_level(logging.DEBUG):
            warnings.simplefilter("always")
            for what in (lambda: list(kem.data.read_images(path)), lambda: read_mask(path)):
                try:
                    what()
                except Exception as error:
                    texts += traceback.format_exception(error)
        texts += [str(one.message) for one in told]
        ours = [one for one in caplog.records if one.name.startswith("keras_espmedsam")]
        texts += [one.getMessage() for one in ours]
        return "".join((*texts, *capfd.readouterr()))

    return read


FORMATS = (
    *("png", "jpeg", "gif", "webp", "bmp", "ppm", "tiff", "tiff_pillow", "tiff_imagej"),
    *("dicom", "dicom_jpeg", "nifti", "nifti_gzipped"),
)


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files(contents, said, tmp_path, name):
    content = contents[name]
    path = tmp_path / f"image{'.nii.gz' if name == 'nifti_gzipped' else ''}"
    rng = np.random.default_rng(len(content))
    texts = {}
    for place in (*range(8, 400, 28), *rng.integers(0, len(content), 12).tolist()):
        path.write_bytes(content[:place] + FIELD + content[place + len(FIELD) :])
        texts[f"overwritten at {place}"] = said(path)
    for share in (0.2, 0.5, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        texts[f"{share} of it"] = said(path)
    assert any(texts.values())  # Some are refused.
    words = (planted_files.WORD, planted_files.NUMBER)
    found = {how: planted_files.found_in(text.encode(), words) for how, text in texts.items()}
    assert not any(found.values()), {how: one for how, one in found.items() if one}


@pytest.mark.parametrize(
    "keyword",
    [
        *("Rows", "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit"),
        *("PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "SOPClassUID"),
        *("PlanarConfiguration", "WindowCenter", "WindowWidth", "VOILUTFunction", "Modality"),
        *("RescaleSlope", "RescaleIntercept", "PixelPaddingValue", "SmallestImagePixelValue"),
    ],
)
def test_texts_in_dicom_elements_that_are_looked_at(said, tmp_path, keyword):
    import pydicom

    array = planted_files.pixels(colour=False).astype("uint16")
    found = planted_files.dicom(array, WindowCenter="80", WindowWidth="100")
    # Of a type that takes any text, as a file may say.
    tag = pydicom.datadict.tag_for_keyword(keyword)
    found[tag] = pydicom.DataElement(tag, "LO", FIELD.decode())
    found.save_as(tmp_path / "image")
    text = said(tmp_path / "image")
    assert not planted_files.found_in(text.encode())


def test_a_transfer_syntax_that_is_a_text(said, tmp_path):
    array = planted_files.pixels(colour=False)
    planted_files.dicom(array).save_as(tmp_path / "image")
    content = (tmp_path / "image").read_bytes()
    standard = b"1.2.840.10008.1.2.1\0"
    assert content.count(standard) == 1
    (tmp_path / "image").write_bytes(content.replace(standard, FIELD.ljust(len(standard), b"^")))
    text = said(tmp_path / "image")
    assert "InputError" in text and not planted_files.found_in(text.encode()), text
    found = planted_files.dicom(array)
    # Of the form of a UID, and in no standard.
    found.file_meta.TransferSyntaxUID = f"1.2.3.{planted_files.NUMBER}"
    found.save_as(
        tmp_path / "other", implicit_vr=False, little_endian=True, enforce_file_format=False
    )
    text = said(tmp_path / "other")
    assert "InputError" in text and not planted_files.found_in(text.encode()), text
