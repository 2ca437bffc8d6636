"""Compressed DICOM files, made here by imagecodecs, or by others: pydicom's, gdcm's and DCMTK's."""

import zlib

import numpy as np
import pytest

from keras_espmedsam.data import read_image, read_images
from keras_espmedsam.data.formats import dicom_codecs
from keras_espmedsam.errors import InputError

pydicom = pytest.importorskip("pydicom", reason="needs the extra medical")
imagecodecs = pytest.importorskip("imagecodecs", reason="needs the extra medical")

YY, XX = np.mgrid[:16, :20]
UNIT = (np.sin(YY / 5) * np.cos(XX / 4) + 1) / 2

LOSSLESS = {
    "JPEG Lossless": (
        pydicom.uid.JPEGLosslessSV1,
        lambda array: imagecodecs.jpeg8_encode(array, lossless=True),
    ),
    "JPEG-LS": (pydicom.uid.JPEGLSLossless, imagecodecs.jpegls_encode),
    "JPEG 2000": (
        pydicom.uid.JPEG2000Lossless,
        lambda array: imagecodecs.jpeg2k_encode(array, level=0, codecformat="j2k", mct=False),
    ),
    "High-Throughput JPEG 2000": (
        pydicom.uid.HTJ2KLossless,
        lambda array: imagecodecs.htj2k_encode(array, level=0),
    ),
    "RLE": (pydicom.uid.RLELossless, None),
}


@pytest.fixture
def write(tmp_path):
    def write_compressed(frames, syntax, encode, bits, signed=False, photometric="MONOCHROME2"):
        if syntax == pydicom.uid.HTJ2KLossless and not hasattr(imagecodecs, "htj2k_encode"):
            pytest.skip("imagecodecs before 2026 reads it and cannot write it")
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        capture = pydicom.uid.SecondaryCaptureImageStorage
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = capture
        uid = pydicom.uid.generate_uid()
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
        dataset.Rows, dataset.Columns = frames.shape[1:3]
        dataset.NumberOfFrames = len(frames)
        dataset.SamplesPerPixel = 1 if frames.ndim == 3 else 3
        if frames.ndim == 4:
            dataset.PlanarConfiguration = 0
        dataset.PhotometricInterpretation = photometric
        dataset.BitsAllocated, dataset.BitsStored = 8 * frames.itemsize, bits
        dataset.HighBit = bits - 1
        dataset.PixelRepresentation = int(signed)
        if frames.ndim == 3:  # the whole range of the bits
            dataset.WindowCenter = 0 if signed else 2 ** (bits - 1)
            dataset.WindowWidth = 2**bits
        if encode is None:
            dataset.PixelData = frames.tobytes()
            dataset.compress(syntax, generate_instance_uid=False)
        else:
            dataset.PixelData = pydicom.encaps.encapsulate([encode(frame) for frame in frames])
            dataset["PixelData"].VR = "OB"
            dataset.file_meta.TransferSyntaxUID = syntax
        path = tmp_path / "compressed.dcm"
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write_compressed


@pytest.mark.parametrize("codec", LOSSLESS.values(), ids=LOSSLESS)
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_grey_of_any_depth(write, codec, bits, signed):
    """Signed values are encoded as the unsigned ones of their bits, as JPEG and JPEG-LS must."""
    top = 2**bits
    values = np.stack([UNIT, UNIT[::-1]]) * (top - 1)
    values = values.round().astype(int) - (top // 2 if signed else 0)
    stored = (values % top).astype("uint8" if bits == 8 else "uint16")
    images = read_images(write(stored, *codec, bits, signed))
    expected = (values + (top // 2 if signed else 0)) / (top - 1)
    np.testing.assert_allclose([p.array for p in images], expected, atol=1e-5)


@pytest.mark.parametrize("codec", LOSSLESS.values(), ids=LOSSLESS)
def test_rgb(write, codec):
    stored = np.random.default_rng(0).integers(0, 256, (1, 16, 20, 3), dtype=np.uint8)
    if codec[0] == pydicom.uid.JPEGLosslessSV1:
        codec = codec[0], lambda a: imagecodecs.jpeg8_encode(a, lossless=True, colorspace="RGB")
    array = read_image(write(stored, *codec, 8, photometric="RGB")).array
    np.testing.assert_array_equal(array, stored[0])


def test_jpeg_of_12_bits(write):
    """What Pillow and pydicom's gdcm refuse."""
    stored = (UNIT * 4095).round().astype("uint16")[None]

    def encode(array):
        return imagecodecs.jpeg8_encode(array, level=100, bitspersample=12)

    array = read_image(write(stored, pydicom.uid.JPEGExtended12Bit, encode, 12)).array
    np.testing.assert_allclose(array, stored[0] / 4095, atol=2 / 4095)


def test_a_frame_of_another_size_is_damaged(write):
    small = imagecodecs.jpegls_encode(np.zeros((8, 8), "uint8"))
    path = write(np.zeros((1, 16, 20), "uint8"), pydicom.uid.JPEGLSLossless, lambda _: small, 8)
    with pytest.raises(InputError, match="cannot be decoded"):
        read_image(path)


@pytest.mark.parametrize(
    ("name", "low", "high", "total"),
    # The extremes and the sum of the stored values as `gdcmconv --raw` of gdcm 3.0.21 gives them;
    # those of the two 12-bit JPEGs are DCMTK 3.6.7's (dcmdjpeg) as well.
    [
        ("JPEG-lossy.dcm", 0, 264, 3767007),
        ("JPGExtended.dcm", 0, 264, 3767007),
        ("J2K_pixelrep_mismatch.dcm", -2000, 1896, -172605258),
        ("693_J2KI.dcm", -2971, 2836, -2181784),
        ("MR_small_jpeg_ls_lossless.dcm", 127, 2145, 2125338),
        ("JPEGLSNearLossless_16.dcm", 0, 65535, 6007250),
        ("SC_rgb_jpeg_gdcm.dcm", 0, 255, 3831000),
    ],
)
def test_files_of_other_writers(name, low, high, total):
    path = pydicom.data.get_testdata_file(name, download=False)
    (frame,) = dicom_frames(path)
    assert (frame.min(), frame.max(), frame.sum(dtype=np.int64)) == (low, high, total)


def dicom_frames(path):
    from keras_espmedsam.data.images import inspect_image_file

    return [image.array for image in inspect_image_file(path).images(labels=True)]


def test_gdcm_is_never_asked():
    """It ends the process on JPEG Lossless of 7 of 8 bits."""
    for syntax in dicom_codecs.DECODER_DEPENDENCIES:
        decoder = pydicom.pixels.get_decoder(pydicom.uid.UID(syntax))
        assert dicom_codecs.best_decoder(decoder) == "keras-espmedsam"
    baseline = pydicom.pixels.get_decoder(pydicom.uid.JPEGBaseline8Bit)
    assert dicom_codecs.best_decoder(baseline) != "gdcm"


def test_without_imagecodecs_the_extra_is_named(write, monkeypatch):
    stored = np.zeros((1, 16, 20), "uint8")
    path = write(stored, *LOSSLESS["JPEG-LS"], 8)
    monkeypatch.setattr(dicom_codecs, "_imagecodecs", lambda: None)
    monkeypatch.setattr(dicom_codecs, "_NAME", "another")  # not registered yet
    monkeypatch.setattr(pydicom.pixels.decoders.JPEGLSLosslessDecoder, "_available", {})
    with pytest.raises(InputError, match=r'JPEG-LS.*pip install "keras-espmedsam\[medical\]"'):
        read_image(path)


# === Files made by strangers ===


@pytest.mark.parametrize("name", ["JPEG Lossless", "JPEG-LS", "JPEG 2000"])
@pytest.mark.parametrize("shape", [(16, 20), (7, 300)])
def test_the_size_of_a_frame_is_read_from_its_own_header(name, shape):
    encoded = LOSSLESS[name][1](np.zeros(shape, np.uint8))
    assert dicom_codecs.codestream_size(bytes(encoded)) == shape


@pytest.mark.parametrize("encoded", [b"", b"\xff\xd8", b"\xff\x4f\xff\x51\0", b"no image at all"])
def test_a_frame_that_does_not_say_its_size(encoded):
    assert dicom_codecs.codestream_size(encoded) is None


@pytest.mark.parametrize("name", ["JPEG Lossless", "JPEG-LS", "JPEG 2000"])
def test_a_frame_larger_than_its_file_says_is_not_decoded(write, name, monkeypatch):
    syntax, encode = LOSSLESS[name]
    path = write(
        (UNIT * 255).astype(np.uint8)[None],
        syntax,
        lambda _: encode(np.zeros((999, 999), np.uint8)),
        8,
    )
    for decode in ("jpeg8_decode", "jpegls_decode", "jpeg2k_decode"):
        monkeypatch.setattr(imagecodecs, decode, lambda *_, **__: pytest.fail("was decoded"))
    with pytest.raises(InputError, match="cannot be decoded"):
        read_image(path)


def test_a_deflated_file_that_grows_without_proportion_is_refused(tmp_path):
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    path = tmp_path / "bomb.dcm"
    dataset.save_as(path, enforce_file_format=True)
    meta = pydicom.filereader.read_file_meta_info(path)
    head = path.read_bytes()[: 144 + meta.FileMetaInformationGroupLength]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = b"".join(packer.compress(bytes(2**20)) for _ in range(300)) + packer.flush()
    path.write_bytes(head + body)
    with pytest.raises(InputError, match="out of proportion"):
        read_image(path)


def test_frames_for_which_there_is_no_room_are_not_counted(write):
    syntax, encode = LOSSLESS["JPEG-LS"]
    path = write((UNIT * 255).astype(np.uint8)[None], syntax, encode, 8)
    dataset = pydicom.dcmread(path)
    dataset.NumberOfFrames = 10**9
    dataset.save_as(path)
    with pytest.raises(InputError, match="promises 1,000,000,000 frames"):
        list(read_images(path))
