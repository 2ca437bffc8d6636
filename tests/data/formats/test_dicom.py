import logging
import warnings

import numpy as np
import pytest

from keras_espmedsam.data import Record, read_image, read_images, read_masks, read_samples
from keras_espmedsam.data.images import inspect_image_file
from keras_espmedsam.errors import InputError, NoImageError

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
    np.testing.assert_allclose(read_image(path).array, expected, atol=1e-6)


def test_the_first_of_several_windows_is_used(write):
    path = write(RAMP, WindowCenter=[1000.5, 5], WindowWidth=[2001, 2])
    np.testing.assert_allclose(read_image(path).array, np.clip(RAMP / 2000, 0, 1), atol=1e-6)


def test_an_exact_window(write):
    path = write(RAMP, WindowCenter=1000, WindowWidth=2000, VOILUTFunction="LINEAR_EXACT")
    np.testing.assert_allclose(read_image(path).array, np.clip(RAMP / 2000, 0, 1), atol=1e-6)


def test_without_a_window_the_percentiles_count(write):
    array = read_image(write(RAMP)).array
    low, high = np.percentile(RAMP, (0.5, 99.5))
    np.testing.assert_allclose(array, np.clip((RAMP - low) / (high - low), 0, 1), atol=1e-6)


def test_a_flat_image_is_black_and_not_an_error(write):
    assert not read_image(write(RAMP * 0 + 7)).array.any()


def test_signed_values(write):
    stored = (RAMP.astype(np.int16) - 1000).astype(np.int16)
    array = read_image(write(stored, WindowCenter=0.5, WindowWidth=2001)).array
    np.testing.assert_allclose(array, np.clip(RAMP / 2000, 0, 1), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_monochrome1_is_inverted(write, dtype):
    stored = (RAMP // 10).astype(dtype)
    plain = read_image(write(stored)).array
    inverted = read_image(write(stored, PhotometricInterpretation="MONOCHROME1")).array
    white = 255 if dtype == np.uint8 else 1
    np.testing.assert_allclose(inverted, white - plain, atol=1e-6)
    assert inverted[0, 0] > inverted[-1, -1]


def test_8_bit_is_taken_as_it_is(write):
    stored = (RAMP // 10).astype(np.uint8)
    np.testing.assert_array_equal(read_image(write(stored)).array, stored)


def test_colour(write):
    stored = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_image(write(stored)).array, stored)


def test_frames_are_images(write):
    frames = np.stack([RAMP // 10, RAMP // 20, RAMP // 30]).astype(np.uint8)
    images = list(read_images(write(frames)))
    assert [(p.index, p.count) for p in images] == [(0, 3), (1, 3), (2, 3)]
    np.testing.assert_array_equal(np.stack([p.array for p in images]), frames)


def test_each_frame_has_its_own_window(write):
    groups = []
    for width in (2001, 1001):
        window = pydicom.Dataset()
        window.WindowCenter, window.WindowWidth = width / 2, width
        group = pydicom.Dataset()
        group.FrameVOILUTSequence = [window]
        groups.append(group)
    path = write(np.stack([RAMP, RAMP]), PerFrameFunctionalGroupsSequence=groups)
    first, second = [image.array for image in read_images(path)]
    np.testing.assert_allclose(first, np.clip(RAMP / 2000, 0, 1), atol=1e-6)
    np.testing.assert_allclose(second, np.clip(RAMP / 1000, 0, 1), atol=1e-6)


def test_it_is_known_by_its_content(write):
    path = write(RAMP)
    content = bytearray(path.read_bytes())
    content[:4] = b"II*\0"  # the preamble may hold a TIFF header
    renamed = path.with_name("IM0001")
    renamed.write_bytes(content)
    assert read_image(renamed).size == (4, 6)


@pytest.mark.parametrize("missing", ["PixelData", "Rows"])
def test_no_image(write, missing):
    path = write(RAMP, **{missing: None})
    with pytest.raises(InputError, match=r"no pixels|header has no size"):
        read_image(path)


def test_zero_rows(write):
    with pytest.raises(InputError, match="no pixels"):
        inspect_image_file(write(RAMP, Rows=0))


def test_nothing_of_the_header_is_told(write, capfd, caplog):
    """Neither a message, a warning, a log line nor the image quotes the header."""
    path = write(RAMP)
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        with pytest.raises(InputError, match="cut short") as error:
            read_image(path)
        image = read_image(write(RAMP, "fine.dcm"))
    out, err = capfd.readouterr()
    told = [str(error.value), caplog.text, out, err, *(str(w.message) for w in caught)]
    assert not any("Doe" in text for text in told)
    assert "Doe" not in repr(image)


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
    for k, (image, one) in enumerate(samples):
        assert (image.index, image.count) == (k, 3)
        np.testing.assert_array_equal(one, masks[k] == 1)


def test_pydicoms_own_examples():
    from pydicom.data import get_testdata_file

    image = read_image(get_testdata_file("CT_small.dcm", download=False))
    assert image.size == (128, 128)
    assert 0.2 < image.array.mean() < 0.7


# === Stored bits ===

FULL = np.linspace(0, 4095, 24).round().astype(np.uint16).reshape(4, 6)
ALL_12_BITS = dict(BitsStored=12, WindowCenter=2048, WindowWidth=4096)


@pytest.mark.parametrize(
    ("stored", "high_bit"),
    [(FULL, 11), (FULL | 0xA000, 11), (FULL << 4 | 5, 15), (FULL << 2 | 0x4001, 13), (FULL, None)],
    ids=["plain", "garbage above", "garbage below", "garbage on both sides", "not said"],
)
def test_what_lies_outside_the_stored_bits_is_no_part_of_the_image(write, stored, high_bit):
    """PS3.5, 8.1.1: old scanners keep overlays there."""
    path = write(stored.astype(np.uint16), HighBit=high_bit, **ALL_12_BITS)
    np.testing.assert_allclose(read_image(path).array, FULL / 4095, atol=1e-6)


@pytest.mark.parametrize("shift", [0, 4])
def test_signed_values_of_12_bits_need_not_fill_the_word(write, shift):
    signed = (FULL.astype(int) - 2048) & 0xFFF
    path = write(
        (signed << shift).astype(np.uint16),
        PixelRepresentation=1,
        BitsStored=12,
        HighBit=11 + shift,
        WindowCenter=0,
        WindowWidth=4096,
    )
    np.testing.assert_allclose(read_image(path).array, FULL / 4095, atol=1e-6)


@pytest.mark.parametrize("allocated", [8, 16, 32])
@pytest.mark.parametrize("bits", [2, 4, 6, 8])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_8_bits_and_fewer_are_shown_by_their_whole_range(
    write, allocated, bits, signed, interpretation
):
    """Dark here: percentiles would stretch it."""
    unit = np.arange(24).reshape(4, 6) % (2**bits) // 2 / (2**bits - 1)
    values = (unit * (2**bits - 1)).round().astype(int) - (2 ** (bits - 1) if signed else 0)
    path = write(
        values.astype(f"{'i' if signed else 'u'}{allocated // 8}"),
        BitsStored=bits,
        HighBit=bits - 1,
        PhotometricInterpretation=interpretation,
    )
    array = read_image(path).array
    array = array / 255 if array.dtype == np.uint8 else array
    np.testing.assert_allclose(array, 1 - unit if interpretation[-1] == "1" else unit, atol=1e-6)


def test_frames_of_one_bit_that_end_within_a_byte(write):
    frames = np.random.default_rng(0).random((3, 5, 7)) > 0.5
    path = write(
        frames.astype("u1"),
        BitsAllocated=1,
        BitsStored=1,
        HighBit=0,
        PixelData=np.packbits(frames.ravel(), bitorder="little").tobytes(),
    )
    np.testing.assert_array_equal([p.array for p in read_images(path)], frames)


# === Windows and tables ===


def linear(values, centre, width):
    """PS3.3, C.11.2.1.2.1."""
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def by_percentiles(values, of=None):
    low, high = np.percentile(values if of is None else of, (0.5, 99.5))
    return np.clip((values - low) / (high - low), 0, 1)


F = FULL.astype(float)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (dict(WindowCenter=2000, WindowWidth=1), F > 1999.5),
        (dict(WindowCenter=2000, WindowWidth=2), linear(F, 2000, 2)),
        (dict(WindowCenter=2000, WindowWidth=1e6), linear(F, 2000, 1e6)),
        (dict(WindowCenter=-5, WindowWidth=3000), linear(F, -5, 3000)),
        (dict(WindowCenter=[900, 30], WindowWidth=[500, 2]), linear(F, 900, 500)),
        (dict(WindowCenter=[900, 3000], WindowWidth=[0, 2000]), linear(F, 3000, 2000)),
        (dict(WindowCenter=[900, 3000], WindowWidth=500), linear(F, 900, 500)),
        (
            dict(WindowCenter=900, WindowWidth=0.5, VOILUTFunction="LINEAR_EXACT"),
            np.clip((F - 900) / 0.5 + 0.5, 0, 1),
        ),
        (
            dict(WindowCenter=900, WindowWidth=500, VOILUTFunction="SIGMOID"),
            1 / (1 + np.exp(-4 * (F - 900) / 500)),
        ),
        (
            dict(WindowCenter=900, WindowWidth=500, RescaleSlope=-0.5, RescaleIntercept=1000),
            linear(F * -0.5 + 1000, 900, 500),
        ),
        # What the standard does not allow is no window.
        (dict(WindowCenter=2000, WindowWidth=0), by_percentiles(F)),
        (dict(WindowCenter=2000, WindowWidth=0.5), by_percentiles(F)),
        (dict(WindowCenter=2000, WindowWidth=-9), by_percentiles(F)),
        (dict(WindowCenter=2000, WindowWidth=0, VOILUTFunction="SIGMOID"), by_percentiles(F)),
        (dict(WindowCenter=2000), by_percentiles(F)),
        (dict(WindowWidth=2000), by_percentiles(F)),
        (dict(WindowCenter="", WindowWidth=""), by_percentiles(F)),
    ],
)
def test_windows(write, fields, expected):
    np.testing.assert_allclose(
        read_image(write(FULL, BitsStored=12, HighBit=11, **fields)).array, expected, atol=1e-6
    )


@pytest.mark.parametrize("text", [b"NaN ", b"inf ", b"abc ", b"1,5 "])
def test_windows_that_are_no_numbers(write, text):
    path = write(FULL, WindowCenter=2048, WindowWidth=4096)
    path.write_bytes(path.read_bytes().replace(b"4096", text))
    np.testing.assert_allclose(read_image(path).array, by_percentiles(F), atol=1e-6)


def test_a_window_beside_all_values_is_told(write):
    path = write(FULL, WindowCenter=-9000, WindowWidth=10)
    with pytest.warns(match="its window shows all values alike"):
        assert (read_image(path).array == 1).all()


def table(entries, first, bits, name="VOILUTSequence", count=None):
    item = pydicom.Dataset()
    count = len(entries) if count is None else count
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [count, first, bits])
    item.add_new("LUTData", "OW", np.asarray(entries).astype("<u2").tobytes())
    return {name: [item]}


GAMMA = (np.arange(4096) ** 2 / 4095).round().astype(int)


@pytest.mark.parametrize("first", [-2048, 65536 - 2048])
def test_a_voi_table_of_negative_values(write, first):
    """Rescaled ones and signed ones alike; the first may be written as an unsigned value."""
    expected = GAMMA[FULL] / 4095
    rescaled = write(FULL, RescaleSlope=1, RescaleIntercept=-2048, **table(GAMMA, first, 12))
    np.testing.assert_allclose(read_image(rescaled).array, expected, atol=1e-6)
    signed = write((FULL.astype(int) - 2048).astype(np.int16), **table(GAMMA, first, 12))
    np.testing.assert_allclose(read_image(signed).array, expected, atol=1e-6)


def test_a_table_goes_before_a_window_unless_it_is_incomplete(write):
    window = dict(WindowCenter=2048, WindowWidth=4096)
    path = write(FULL, **window, **table(GAMMA, 0, 12))
    np.testing.assert_allclose(read_image(path).array, GAMMA[FULL] / 4095, atol=1e-6)
    path = write(FULL, **window, **table(GAMMA[:100], 0, 12, count=4096))
    np.testing.assert_allclose(read_image(path).array, F / 4095, atol=1e-6)
    path = write(FULL, **window, VOILUTSequence=[pydicom.Dataset()])
    np.testing.assert_allclose(read_image(path).array, F / 4095, atol=1e-6)


def test_a_modality_table_goes_before_the_window(write):
    path = write(
        FULL,
        WindowCenter=2048,
        WindowWidth=4096,
        **table(4095 - GAMMA, 0, 12, "ModalityLUTSequence"),
    )
    np.testing.assert_allclose(read_image(path).array, 1 - GAMMA[FULL] / 4095, atol=1e-6)


def test_each_frame_has_its_own_rescaling(write):
    groups = []
    for slope in (1, 4):
        group, item = pydicom.Dataset(), pydicom.Dataset()
        item.RescaleSlope, item.RescaleIntercept = slope, -100
        group.PixelValueTransformationSequence = [item]
        groups.append(group)
    path = write(np.stack([FULL, FULL // 4]), PerFrameFunctionalGroupsSequence=groups)
    values = np.stack([F - 100, FULL // 4 * 4.0 - 100])
    np.testing.assert_allclose(
        [p.array for p in read_images(path)], by_percentiles(values), atol=1e-6
    )


# === Padding ===

INSIDE = np.linspace(100, 900, 24).round().reshape(4, 6)
OUTSIDE = np.zeros((4, 6), bool)
OUTSIDE[0] = True


@pytest.mark.parametrize(
    ("dtype", "padding", "fields"),
    [
        ("int16", -2000, dict(PixelPaddingValue=-2000)),
        ("int16", -32768, dict(PixelPaddingValue=-32768)),
        ("int16", -2000, dict(PixelPaddingValue=63536)),
        ("int16", -2048, dict(PixelPaddingValue=2048, BitsStored=12)),
        ("int16", -2000, dict(PixelPaddingValue=63536, BitsStored=12)),
        ("uint16", 65535, dict(PixelPaddingValue=65535)),
        ("uint16", 0, dict(PixelPaddingValue=0)),
        ("uint16", 5001, dict(PixelPaddingValue=5000, PixelPaddingRangeLimit=5002)),
        ("uint16", 5001, dict(PixelPaddingValue=5002, PixelPaddingRangeLimit=5000)),
    ],
)
@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_has_no_part_in_the_range(
    write, dtype, padding, fields, interpretation
):
    stored = np.where(OUTSIDE, padding, INSIDE).astype(dtype)
    path = write(stored, PhotometricInterpretation=interpretation)
    dataset = pydicom.dcmread(path)
    for name, value in fields.items():
        kind = "SS" if value < 0 else "US"  # as written, whatever the sign of the pixels
        dataset.add_new(name, kind, value)
    dataset.HighBit = dataset.BitsStored - 1
    dataset.save_as(path)
    shown = by_percentiles(INSIDE, INSIDE[~OUTSIDE])
    shown = 1 - shown if interpretation == "MONOCHROME1" else shown
    np.testing.assert_allclose(read_image(path).array, np.where(OUTSIDE, 0, shown), atol=1e-6)


@pytest.mark.parametrize("padding", [-9999.0, float("nan")])
def test_padding_of_floating_point_values(write, padding):
    values = np.where(OUTSIDE, padding, INSIDE).astype(np.float32)
    path = write(
        values.view(np.uint32),
        **dict.fromkeys(("PixelData", "BitsStored", "HighBit", "PixelRepresentation")),
        FloatPixelData=values.tobytes(),
        FloatPixelPaddingValue=padding,
    )
    shown = by_percentiles(INSIDE, INSIDE[~OUTSIDE])
    np.testing.assert_allclose(read_image(path).array, np.where(OUTSIDE, 0, shown), atol=1e-5)


# === Colours ===

INDICES = np.random.default_rng(0).integers(0, 256, (4, 6), dtype=np.uint8)
CHANNELS = {
    "Red": np.arange(256),
    "Green": np.arange(256)[::-1],
    "Blue": np.arange(256) * 7 % 256,
}


def palette(factor=1, bits=8, dtype="u1", first=0, **other):
    fields = {}
    for colour, entries in CHANNELS.items():
        own = {"factor": factor, "bits": bits, "dtype": dtype, **other.get(colour, {})}
        name = f"{colour}PaletteColorLookupTable"
        fields[name + "Descriptor"] = [256, first, own["bits"]]
        fields[name + "Data"] = (entries * own["factor"]).astype(own["dtype"]).tobytes()
    return fields


DEEP = {"factor": 257, "bits": 16, "dtype": "<u2"}


@pytest.mark.parametrize(
    ("fields", "scale"),
    [
        (palette(), 1),
        (palette(dtype="<u2"), 1),
        (palette(**DEEP), 1),
        (palette(256, 16, "<u2"), 256 / 257),
        (palette(60, 16, "<u2"), 60 / 257),  # dark, and to stay so
        (palette(1, 16, "<u2"), 1),  # said to have 16 bits
        (palette(1, 16), 1),
        (palette(Green=DEEP), 1),
    ],
)
def test_palettes(write, fields, scale):
    """PS3.3, C.7.6.3.1.5 and .6."""
    path = write(INDICES, PhotometricInterpretation="PALETTE COLOR", **fields)
    expected = np.stack([CHANNELS[colour][INDICES] for colour in CHANNELS], axis=-1) / 255
    np.testing.assert_allclose(read_image(path).array, expected * scale, atol=1e-6)


def test_a_palette_that_begins_behind_0(write):
    path = write(INDICES, PhotometricInterpretation="PALETTE COLOR", **palette(first=100))
    index = np.clip(INDICES.astype(int) - 100, 0, 255)
    expected = np.stack([CHANNELS[colour][index] for colour in CHANNELS], axis=-1) / 255
    np.testing.assert_allclose(read_image(path).array, expected, atol=1e-6)


def test_the_palette_of_a_big_endian_file(write, tmp_path):
    path = write(INDICES, PhotometricInterpretation="PALETTE COLOR", **palette(**DEEP))
    little = read_image(path).array
    dataset = pydicom.dcmread(path)
    swapped = pydicom.Dataset()
    swapped.update(dataset)
    for colour in CHANNELS:
        name = f"{colour}PaletteColorLookupTableData"
        data = np.frombuffer(dataset[name].value, "<u2").astype(">u2").tobytes()
        swapped.add_new(name, "OW", data)
    swapped.file_meta = dataset.file_meta
    swapped.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    swapped.save_as(tmp_path / "big.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_image(tmp_path / "big.dcm").array, little)


RGB = np.random.default_rng(0).integers(0, 4096, (4, 6, 3)).astype(np.uint16)
RGB[0, 0], RGB[0, 1] = 0, 4095


@pytest.mark.parametrize(
    ("stored", "fields", "expected"),
    [
        (RGB, dict(BitsStored=12, HighBit=11), RGB / 4095),
        ((RGB * 16.003663).round().astype(np.uint16), {}, RGB / 4095),
        ((RGB >> 4).astype(np.uint8), dict(PlanarConfiguration=None), (RGB >> 4) / 255),
        ((RGB >> 4).astype(np.uint8), dict(PixelRepresentation=1), (RGB >> 4) / 255),
        ((RGB >> 4).astype(np.uint16), dict(BitsStored=8, HighBit=7), (RGB >> 4) / 255),
    ],
    ids=["12 bits", "16 bits", "no planar configuration", "said to be signed", "8 of 16 bits"],
)
def test_colours_of_any_depth(write, stored, fields, expected):
    array = read_image(write(stored, **fields)).array
    white = np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1
    np.testing.assert_allclose(array / white, expected, atol=2e-5)


# === Headers ===


def test_what_a_header_may_leave_out(write):
    stored = (FULL >> 4).astype(np.uint8)
    missing = ("SamplesPerPixel", "BitsStored", "HighBit", "PixelRepresentation")
    path = write(stored, **dict.fromkeys(missing))
    np.testing.assert_array_equal(read_image(path).array, stored)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(PhotometricInterpretation=None), "lacks a photometric interpretation"),
        (dict(PhotometricInterpretation="SMITH"), "lacks a photometric interpretation"),
        (dict(PhotometricInterpretation="HSV"), "colours of the kind HSV"),
        (dict(PhotometricInterpretation="YBR_PARTIAL_422"), "of the kind YBR_PARTIAL_422"),
        (dict(BitsAllocated=12), "stores values of 12 bits; expected 1, 8, 16"),
        (dict(BitsAllocated=0), "does not say its bits"),
        (dict(NumberOfFrames=4), "cut short or damaged"),
        (palette(Blue={"factor": 0}) | dict(PhotometricInterpretation="PALETTE COLOR"), None),
        (dict(PhotometricInterpretation="PALETTE COLOR"), "cut short or damaged"),
    ],
)
def test_headers_that_cannot_be_used(write, fields, message):
    path = write((FULL >> 4).astype(np.uint8), **fields)
    if message is None:
        assert read_image(path).array[..., 2].max() == 0
        return
    with pytest.raises(InputError, match=message) as error:
        list(read_images(path))
    assert "SMITH" not in str(error.value)


# === What the user says ===


@pytest.mark.parametrize(
    ("fields", "intensity", "expected"),
    [
        (dict(WindowCenter=100, WindowWidth=10), "full", F / 4095),
        (dict(RescaleSlope=2, RescaleIntercept=-1024), "full", F / 4095),
        (dict(RescaleSlope=-1, RescaleIntercept=0), "full", 1 - F / 4095),
        (dict(PhotometricInterpretation="MONOCHROME1"), "full", 1 - F / 4095),
        (dict(WindowCenter=100, WindowWidth=10), "0:1000", np.clip(F / 1000, 0, 1)),
        (dict(RescaleSlope=1, RescaleIntercept=-1024), (-160, 240), np.clip((F - 864) / 400, 0, 1)),
        (dict(PhotometricInterpretation="MONOCHROME1"), "0:1000", 1 - np.clip(F / 1000, 0, 1)),
    ],
)
def test_intensity(write, fields, intensity, expected):
    path = write(FULL, BitsStored=12, HighBit=11, **fields)
    np.testing.assert_allclose(read_image(path, intensity=intensity).array, expected, atol=1e-5)


# === Real files ===


@pytest.mark.parametrize(
    ("name", "count", "shape", "mean"),
    # The mean brightness as DCMTK 3.6.7 shows them (dcm2pnm and dcmj2pnm, the first window, 8 bits;
    # RG3 made raw by gdcm 3.0.21).
    [
        ("ExplVR_BigEnd.dcm", 1, (60, 80, 3), 0.6729),
        ("JPGLosslessP14SV1_1s_1f_8b.dcm", 1, (768, 1024), 0.0678),
        ("RG3_J2KI.dcm", 1, (1760, 1760), 0.6950),
        ("SC_rgb_jpeg_dcmtk.dcm", 1, (100, 100, 3), 0.5009),
        ("color-pl.dcm", 1, (120, 256, 3), 0.1673),
        ("OBXXXX1A_rle_2frame.dcm", 2, (600, 800, 3), 0.0488),
    ],
)
def test_real_files(shared_dir, name, count, shape, mean):
    path = shared_dir / "formats" / name
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    if "J2K" in name or "Lossless" in name:
        pytest.importorskip("imagecodecs", reason="needs the extra medical")
    images = list(read_images(path))
    assert len(images) == count
    array = images[0].array
    assert array.shape == shape
    np.testing.assert_allclose(
        array.mean() / (255 if array.dtype == np.uint8 else 1), mean, atol=2e-3
    )


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    # The same image, without loss, or with a loss of a few grey values.
    [
        ("VL1_J2KR.dcm", "VL1_RLE.dcm", 0),
        ("sm_image.dcm", "sm_image_jpegls.dcm", 0),
        ("RG3_J2KI.dcm", "RG3_JLSN.dcm", 0.02),
    ],
)
def test_real_files_of_one_image_in_two_compressions(shared_dir, one, other, difference):
    pytest.importorskip("imagecodecs", reason="needs the extra medical")
    paths = [shared_dir / "formats" / name for name in (one, other)]
    if not all(path.exists() for path in paths):
        pytest.skip(f"{paths[0]} does not exist")
    first, second = (np.stack([image.array for image in read_images(path)]) for path in paths)
    assert first.std() > 0
    np.testing.assert_allclose(first, second, atol=difference)


def test_an_overlay_plane_is_not_drawn(write):
    """Overlays are notes of a reader or a machine, stored beside the pixels (PS3.3, C.9.2)."""
    stored = np.arange(64, dtype=np.uint8).reshape(8, 8)
    plain = read_image(write(stored)).array
    path = write(stored)
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x60000010, "US", 8)
    dataset.add_new(0x60000011, "US", 8)
    dataset.add_new(0x60000040, "CS", "G")
    dataset.add_new(0x60000050, "SS", [1, 1])
    dataset.add_new(0x60000100, "US", 1)
    dataset.add_new(0x60000102, "US", 0)
    dataset.add_new(0x60003000, "OW", b"\xff" * 8)
    dataset.save_as(path)
    np.testing.assert_array_equal(read_image(path).array, plain)


@pytest.mark.parametrize("segments", [1, 2])
def test_a_segmentation_serves_as_a_mask_and_not_as_an_image(write, segments):
    """PS3.3, A.51: of one segment its frames are masks; of several, which is meant is unknown."""
    mask = np.zeros((6, 8), "uint8")
    mask[:, 4:] = 255
    items = [pydicom.Dataset() for _ in range(segments)]
    kind = pydicom.uid.SegmentationStorage
    path = write(mask, SOPClassUID=kind, Modality="SEG", SegmentSequence=items)
    with pytest.raises(NoImageError, match=r"Segmentation Storage.*give an image instead"):
        next(read_images(path))
    if segments == 1:
        np.testing.assert_array_equal(next(read_masks(path)), mask > 0)
    else:
        with pytest.raises(NoImageError, match=r"holds 2 segments.*give a mask of one segment"):
            next(read_masks(path))
