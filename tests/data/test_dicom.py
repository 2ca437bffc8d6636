import logging
import warnings

import numpy as np
import pytest

from keras_espmedsam.data import Record, read_masks, read_picture, read_pictures, read_samples
from keras_espmedsam.data.pictures import inspect_picture_file
from keras_espmedsam.errors import InputError

pydicom = pytest.importorskip("pydicom", reason="needs the extra medical")

RAMP = np.arange(24, dtype=np.uint16).reshape(4, 6) * 100


@pytest.fixture
def write(tmp_path):
    def write_dicom(array, name="scan.dcm", **fields):
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        capture = pydicom.uid.SecondaryCaptureImageStorage
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = capture
        uid = pydicom.uid.generate_uid()
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
        dataset.PatientName = "Doe^Jane"
        colour = array.shape[-1] == 3
        dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
        dataset.SamplesPerPixel = 3 if colour else 1
        if colour:
            dataset.PlanarConfiguration = 0
        shape = array.shape[:-1] if colour else array.shape
        dataset.Rows, dataset.Columns = shape[-2:]
        if len(shape) == 3:
            dataset.NumberOfFrames = shape[0]
        dataset.BitsAllocated = dataset.BitsStored = array.dtype.itemsize * 8
        dataset.HighBit = dataset.BitsStored - 1
        dataset.PixelRepresentation = int(array.dtype.kind == "i")
        dataset.PixelData = array.tobytes()
        for field, value in fields.items():
            if value is None:
                delattr(dataset, field)
            else:
                setattr(dataset, field, value)
        path = tmp_path / name
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write_dicom


def test_rescaling_and_window(write):
    stored = (RAMP + 1000).astype(np.uint16)
    path = write(
        *[stored], RescaleSlope=2, RescaleIntercept=-2000, WindowCenter=2000.5, WindowWidth=2001
    )
    # Rescaled, the ramp runs from 0 to 4600; the window from 1000 to 3000.
    expected = np.clip((RAMP * 2.0 - 1000) / 2000, 0, 1)
    np.testing.assert_allclose(read_picture(path).array, expected, atol=1e-6)


def test_the_first_of_several_windows_is_used(write):
    path = write(RAMP, WindowCenter=[1000.5, 5], WindowWidth=[2001, 2])
    np.testing.assert_allclose(read_picture(path).array, np.clip(RAMP / 2000, 0, 1), atol=1e-6)


def test_an_exact_window(write):
    path = write(RAMP, WindowCenter=1000, WindowWidth=2000, VOILUTFunction="LINEAR_EXACT")
    np.testing.assert_allclose(read_picture(path).array, np.clip(RAMP / 2000, 0, 1), atol=1e-6)


def test_without_a_window_the_percentiles_count(write):
    array = read_picture(write(RAMP)).array
    low, high = np.percentile(RAMP, (0.5, 99.5))
    np.testing.assert_allclose(array, np.clip((RAMP - low) / (high - low), 0, 1), atol=1e-6)


def test_a_flat_picture_is_black_and_not_an_error(write):
    assert not read_picture(write(RAMP * 0 + 7)).array.any()


def test_signed_values(write):
    stored = (RAMP.astype(np.int16) - 1000).astype(np.int16)
    array = read_picture(write(stored, WindowCenter=0.5, WindowWidth=2001)).array
    np.testing.assert_allclose(array, np.clip(RAMP / 2000, 0, 1), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_monochrome1_is_inverted(write, dtype):
    stored = (RAMP // 10).astype(dtype)
    plain = read_picture(write(stored)).array
    inverted = read_picture(write(stored, PhotometricInterpretation="MONOCHROME1")).array
    white = 255 if dtype == np.uint8 else 1
    np.testing.assert_allclose(inverted, white - plain, atol=1e-6)
    assert inverted[0, 0] > inverted[-1, -1]


def test_8_bit_is_taken_as_it_is(write):
    stored = (RAMP // 10).astype(np.uint8)
    np.testing.assert_array_equal(read_picture(write(stored)).array, stored)


def test_colour(write):
    stored = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_picture(write(stored)).array, stored)


def test_frames_are_pictures(write):
    frames = np.stack([RAMP // 10, RAMP // 20, RAMP // 30]).astype(np.uint8)
    pictures = list(read_pictures(write(frames)))
    assert [(p.index, p.count) for p in pictures] == [(0, 3), (1, 3), (2, 3)]
    np.testing.assert_array_equal(np.stack([p.array for p in pictures]), frames)


def test_each_frame_has_its_own_window(write):
    groups = []
    for width in (2001, 1001):
        window = pydicom.Dataset()
        window.WindowCenter, window.WindowWidth = width / 2, width
        group = pydicom.Dataset()
        group.FrameVOILUTSequence = [window]
        groups.append(group)
    path = write(np.stack([RAMP, RAMP]), PerFrameFunctionalGroupsSequence=groups)
    first, second = [picture.array for picture in read_pictures(path)]
    np.testing.assert_allclose(first, np.clip(RAMP / 2000, 0, 1), atol=1e-6)
    np.testing.assert_allclose(second, np.clip(RAMP / 1000, 0, 1), atol=1e-6)


def test_it_is_known_by_its_content(write):
    path = write(RAMP)
    content = bytearray(path.read_bytes())
    content[:4] = b"II*\0"  # the preamble may hold a TIFF header
    renamed = path.with_name("IM0001")
    renamed.write_bytes(content)
    assert read_picture(renamed).size == (4, 6)


@pytest.mark.parametrize("missing", ["PixelData", "Rows"])
def test_no_picture(write, missing):
    path = write(RAMP, **{missing: None})
    with pytest.raises(InputError, match=r"no pixels|header has no size"):
        read_picture(path)


def test_zero_rows(write):
    with pytest.raises(InputError, match="no pixels"):
        inspect_picture_file(write(RAMP, Rows=0))


def test_pixel_limit(write):
    with pytest.raises(InputError, match="24 pixels; the limit is 23"):
        read_picture(write(RAMP), max_pixels=23)


def test_nothing_of_the_header_is_told(write, capfd, caplog):
    """Neither a message, a warning, a log line nor the picture quotes the header."""
    path = write(RAMP)
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        with pytest.raises(InputError, match="cut short") as error:
            read_picture(path)
        picture = read_picture(write(RAMP, "fine.dcm"))
    out, err = capfd.readouterr()
    told = [str(error.value), caplog.text, out, err, *(str(w.message) for w in caught)]
    assert not any("Doe" in text for text in told)
    assert "Doe" not in repr(picture)


@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_frames_with_those_of_a_mask(write, interpretation):
    """The frames of a mask are taken as stored: one of foreground alone stays so."""
    frames = np.stack([RAMP, RAMP + 5, RAMP + 9])
    masks = np.stack([0 * RAMP, 0 * RAMP + 1, RAMP > 500]).astype("uint8")
    stored = 255 - masks if interpretation == "MONOCHROME1" else masks
    # A window that would show the masks all black.
    fields = dict(WindowCenter=200, WindowWidth=10, PhotometricInterpretation=interpretation)
    mask = write(stored, "mask.dcm", **fields)
    np.testing.assert_array_equal(list(read_masks(mask)), masks == 1)
    samples = read_samples(Record("train", "xray", "lungs", write(frames), mask))
    for k, (picture, one) in enumerate(samples):
        assert (picture.index, picture.count) == (k, 3)
        np.testing.assert_array_equal(one, masks[k] == 1)


def test_pydicoms_own_examples():
    from pydicom.data import get_testdata_file

    picture = read_picture(get_testdata_file("CT_small.dcm", download=False))
    assert picture.size == (128, 128)
    assert 0.2 < picture.array.mean() < 0.7
