"""What holds for every file format, ours and one that is added: each has a line in `WRITERS`."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from keras_espmedsam.data import (
    FileFormat,
    Frame,
    ImageSource,
    Layout,
    Record,
    check_records,
    inspect_image_file,
    read_folder,
    read_image,
    read_images,
    read_masks,
    read_samples,
    write_mask,
)
from keras_espmedsam.data.folder import image_files
from keras_espmedsam.data.formats.file_kind import FileKind, file_kind
from keras_espmedsam.data.formats.known_formats import get_format, image_suffixes, known_formats
from keras_espmedsam.errors import InputError
from keras_espmedsam.registries import file_formats

LAYOUTS = [Layout.from_exif(number) for number in range(1, 9)]
UPRIGHT = LAYOUTS[0]
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 30, 41), dtype=np.uint8)
# Unlike itself in every orientation.
MASKS = np.zeros(IMAGES.shape, bool)
MASKS[0, 2:9, 3:30] = MASKS[1, 20:, :5] = MASKS[2, :3, 30:] = True


class NumpyFormat(FileFormat):
    """Arrays `(images, height, width)`, and masks in the same way."""

    name = "NumPy"
    suffixes = (".npy",)
    signatures = ((0, b"\x93NUMPY"),)
    image_word = "plane"
    mask_suffixes = (".npy",)

    def open(self, path):
        array = np.load(path, mmap_mode="r")
        return ImageSource(*array.shape[1:], len(array), lambda: map(Frame, np.array(array)))

    def write_masks(self, path, masks, reference):
        np.save(path, np.stack(masks).astype("uint8"))


def write_raster(path, images, layout):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = layout.exif
    first, *others = map(Image.fromarray, images)
    first.save(path, "PNG", save_all=bool(others), append_images=others, exif=exif)


def write_tiff(path, images, layout):
    tifffile = pytest.importorskip("tifffile", reason="needs the extra medical")
    orientation = [(274, "H", 1, layout.exif, True)]
    with tifffile.TiffWriter(path) as tiff:
        for image in images:
            tiff.write(image, extratags=orientation, contiguous=False, metadata=None)


def write_dicom(path, images, layout):
    pydicom = pytest.importorskip("pydicom", reason="needs the extra medical")
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MONOCHROME2", 1
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = np.shape(images)
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = np.stack(images).tobytes()
    dataset.save_as(path, enforce_file_format=True)


def write_nifti(path, images, layout):
    nibabel = pytest.importorskip("nibabel", reason="needs the extra medical")
    affine = np.diag([0.0, 0, 0, 1])
    rows, columns = ([-1, 1][flip] for flip in (layout.flip_rows, layout.flip_columns))
    # The stored axes run to the patient's left and back, or to the feet and back, unless flipped.
    if layout.swap:
        affine[[0, 1, 2], [0, 1, 2]] = columns, rows, 1
    else:
        affine[[2, 1, 0], [0, 1, 2]] = rows, columns, 1
    volume = nibabel.Nifti1Image(np.stack(images, axis=-1), affine)
    path.write_bytes(volume.to_bytes())


def write_npy(path, images, layout):
    with path.open("wb") as file:
        np.save(file, np.stack(images))


WRITERS = {
    "raster": write_raster,
    "nifti": write_nifti,
    "tiff": write_tiff,
    "dicom": write_dicom,
    "numpy": write_npy,
}
TURNED = ("raster", "nifti", "tiff")  # those whose files say how they are turned


@pytest.fixture(autouse=True)
def _added():
    file_formats.register("numpy", NumpyFormat)
    yield
    file_formats.unregister("numpy")


@pytest.fixture(params=WRITERS)
def name(request):
    return request.param


@pytest.fixture
def write(tmp_path):
    """`write(name, count, layout, file)`: a file of as many images, stored as the layout says."""

    def write_file(name, count=3, layout=UPRIGHT, file=None):
        path = tmp_path / (file or f"images{get_format(name).suffixes[0]}")
        path.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[name](path, [layout.undo(image) for image in IMAGES[:count]], layout)
        return path

    return write_file


def assert_refused(path, *words, **options):
    with warnings.catch_warnings(), pytest.raises(InputError) as caught:
        warnings.simplefilter("error")
        list(read_images(path, **options))
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_every_format_is_tested():
    assert set(WRITERS) == set(file_formats)


# === Which format a file is of ===


def test_suffixes_are_of_one_format_each():
    suffixes = [suffix for one in known_formats() for suffix in one.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert image_suffixes() == tuple(suffixes)


@pytest.mark.parametrize(
    "file", [None, "none", "1.2.840.17", "A.PNG", "a.tif", "a.dcm", "a.nii.gz"]
)
def test_the_content_decides(write, name, file):
    path = write(name, count=1, file=file)
    assert file_kind(path) == FileKind(get_format(name))
    np.testing.assert_array_equal(read_image(path).array, IMAGES[0])


def test_the_name_decides_where_the_content_says_nothing(name):
    format = get_format(name)
    expected = format if format.known_by_name else get_format("raster")
    for suffix in format.suffixes:
        for path in (Path(f"a{suffix}"), Path(f"A{suffix.upper()}")):
            assert file_kind(path, b"nothing that is known").format is expected


def test_texts_are_of_no_format(name):
    for head in (b"P", b"II", b"BM of 7 patients", b"GIF", b"{}", bytes(1024)):
        assert not get_format(name).sniff(head, Path("a"))


# === Reading ===


@pytest.mark.parametrize("count", [1, 3])
def test_images(write, name, count):
    images = list(read_images(write(name, count)))
    assert [(one.index, one.count) for one in images] == [(k, count) for k in range(count)]
    np.testing.assert_array_equal([one.array for one in images], IMAGES[:count])
    assert {one.stem for one in images} == {"images"}


@pytest.mark.parametrize("name", TURNED)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: str(layout.exif))
def test_images_stand_upright(write, name, layout):
    image = read_image(write(name, 1, layout))
    assert image.layout == layout
    np.testing.assert_array_equal(image.array, IMAGES[0])


def test_several_images_are_not_one(write, name):
    with pytest.raises(InputError, match=r"holds 3 images; expected one. Use read_images"):
        read_image(write(name))


def test_the_pixel_limit_is_inclusive_and_checked_before_decoding(write, name):
    path = write(name)
    assert_refused(path, " = 1,230 pixels; the limit is 1,229", max_pixels=1229)
    with pytest.raises(InputError, match="the limit is 1,229"):
        inspect_image_file(path, max_pixels=1229)
    assert inspect_image_file(path, max_pixels=1230).count == 3


# === What cannot be read ===


@pytest.mark.parametrize("part", [0.02, 0.3, 0.9])
def test_a_cut_file_is_explained(write, name, part):
    path = write(name)
    content = path.read_bytes()
    path.write_bytes(content[: max(10, int(part * len(content)))])
    assert_refused(path)


def test_an_empty_and_a_missing_file(tmp_path, name):
    path = tmp_path / f"a{get_format(name).suffixes[-1]}"
    assert_refused(path, "does not exist")
    path.touch()
    assert_refused(path, "is empty")


def test_a_text_of_its_name_is_explained(tmp_path, name):
    for suffix in get_format(name).suffixes:
        path = tmp_path / f"a{suffix}"
        path.write_text("this is no image at all\n" * 40)
        assert_refused(path)


def test_no_library_is_imported_before_a_file_needs_it():
    code = (
        "import sys, keras_espmedsam.data.formats.known_formats as known\n"
        "assert len(known.known_formats()) == 4\n"
        "found = {'keras', 'pydicom', 'nibabel', 'tifffile'} & set(sys.modules)\n"
        "sys.exit(', '.join(found) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


# === Masks ===


KINDS = [(name, count, UPRIGHT) for name in WRITERS for count in (1, 3)]
KINDS += [(name, 1, layout) for name in TURNED for layout in LAYOUTS[1:]]
KINDS += [(name, 3, layout) for name in TURNED if name != "raster" for layout in LAYOUTS[1:]]


@pytest.mark.parametrize(("name", "count", "layout"), KINDS)
def test_a_mask_is_stored_as_its_image_and_read_back(write, tmp_path, name, count, layout):
    """Upright on the image, and of the stored shape, whatever the image's orientation."""
    path = write(name, count, layout)
    file = inspect_image_file(path)
    images = list(read_images(path))
    masks = list(MASKS[:count])
    if file.one_mask_file:
        mask_path = tmp_path / f"masks{file.mask_suffix}"
        write_mask(mask_path, masks, images[0])
        pairs = [(mask_path, masks)]
        record = Record("train", "xray", "d", path, mask_path)
        for (image, mask), expected in zip(read_samples(record), masks, strict=True):
            assert mask.shape == image.size
            np.testing.assert_array_equal(mask, expected)
    else:
        assert file.mask_suffix == ".png"
        pairs = []
        for k, (image, mask) in enumerate(zip(images, masks, strict=True)):
            mask_path = tmp_path / f"masks{k}.png"
            write_mask(mask_path, mask, image)
            pairs.append((mask_path, [mask]))
        if count == 1:
            record = Record("train", "xray", "d", path, mask_path)
            np.testing.assert_array_equal(next(read_samples(record))[1], masks[0])
    for mask_path, written in pairs:
        for stored, mask in zip(read_masks(mask_path), written, strict=True):
            assert stored.shape == layout.undo(mask).shape
            np.testing.assert_array_equal(stored, layout.undo(mask))


WRITES_MASKS = [name for name in WRITERS if name in ("nifti", "numpy")]


def test_which_formats_write_masks(name):
    assert bool(get_format(name).mask_suffixes) == (name in WRITES_MASKS)


@pytest.mark.parametrize("name", WRITES_MASKS)
@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (MASKS[:2], "Received 2 masks for the 3 .*s of .*; give one per"),
        (MASKS[0], "Received 1 masks for the 3"),
        (
            MASKS[:, :29],
            r"Received a mask of shape \(29, 41\) for a .* of .*, which has \(30, 41\)",
        ),
        ([MASKS[0], MASKS[1], MASKS[2].T], r"Received a mask of shape \(41, 30\)"),
        (MASKS[..., None], r"shapes \(30, 41, 1\); expected \(height, width\) for each"),
        ([], "shapes none; expected"),
    ],
    ids=["too few", "one", "smaller", "turned", "channels", "none"],
)
def test_masks_must_fit(write, tmp_path, name, masks, message):
    image = next(read_images(write(name)))
    path = tmp_path / f"masks{get_format(name).mask_suffixes[0]}"
    with pytest.raises(InputError, match=message):
        write_mask(path, masks, image)
    assert not path.exists()


def test_a_mask_of_one_image(write, tmp_path):
    """A single `(height, width)` is taken as the only one, as of a PNG."""
    for name in WRITES_MASKS:
        path = write(name, 1)
        mask_path = tmp_path / f"mask{get_format(name).mask_suffixes[0]}"
        write_mask(mask_path, MASKS[0].astype("float32") * 0.2, read_image(path))
        np.testing.assert_array_equal(
            next(read_samples(Record("", "", "", path, mask_path)))[1], MASKS[0]
        )


def test_the_names_that_a_mask_can_have(tmp_path):
    with pytest.raises(InputError, match=r"ending in \.png, \.npy, \.nii or \.nii\.gz\."):
        write_mask(tmp_path / "mask.jpg", MASKS[0])


# === Folders ===


def test_folders(write, name):
    """Found by content under any name, listed, paired, and checked."""
    suffix = get_format(name).suffixes[-1]
    image = write(name, 1, file=f"folder/images/7{suffix}")
    mask = image.parent.parent / f"masks/7_mask{inspect_image_file(image).mask_suffix}"
    write_mask(mask, MASKS[0], read_image(image))
    (image.parent / "notes.txt").write_text("not an image")
    records = read_folder(image.parent.parent, "xray")
    assert [(one.image, one.mask) for one in records] == [(image, mask)]
    assert check_records(records) == (records, [])
    assert image_files(image.parent) == [image]
