import numpy as np
import pytest
import tifffile
from PIL import Image

from keras_espmedsam.data import (
    FileFormat,
    Frame,
    ImageSource,
    inspect_image_file,
    read_image,
    read_images,
    write_mask,
)
from keras_espmedsam.data.images import ImageFile
from keras_espmedsam.data.label_images import label_suffix, write_labels
from keras_espmedsam.errors import InputError

LABELS = np.arange(12).reshape(3, 4)


def stored_numbers(path):
    """The numbers in a file as they are stored; Pillow would turn those of a TIFF file."""
    return np.asarray(Image.open(path)) if path.suffix == ".png" else tifffile.imread(path)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "uint16", "int64"])
def test_numbers_are_kept_in_16_bits(tmp_path, suffix, dtype):
    path = tmp_path / f"labels{suffix}"
    labels = LABELS.astype(dtype)
    write_labels(path, labels)
    found = stored_numbers(path)
    assert found.dtype == np.uint16
    assert (found == labels).all()
    write_labels(path, labels[:, ::-1].T)  # It replaces the file, from an array of any order.
    assert (stored_numbers(path) == labels[:, ::-1].T).all()


def test_the_highest_numbers_of_each_file(tmp_path):
    labels = LABELS.copy()
    labels[0, 0] = 65535
    for suffix in (".png", ".tiff"):
        write_labels(tmp_path / f"labels{suffix}", labels)
        assert (stored_numbers(tmp_path / f"labels{suffix}") == labels).all()
    labels[0, 0] = 65536
    with pytest.raises(InputError, match=r"up to 65,536 for .*up to 65,535; write a \.tiff file"):
        write_labels(tmp_path / "more.png", labels)
    assert not (tmp_path / "more.png").exists()
    write_labels(tmp_path / "more.tiff", labels)
    found = tifffile.imread(tmp_path / "more.tiff")
    assert found.dtype == np.int32
    assert (found == labels).all()
    read = next(inspect_image_file(tmp_path / "more.tiff").images(labels=True))
    assert (read.array == labels).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_a_turned_image_and_its_labels_are_turned_alike(tmp_path, save, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(np.zeros((6, 9), np.uint8), "photo.jpg", exif=exif)
    image = read_image(path)
    labels = np.arange(54).reshape(image.size)
    write_labels(tmp_path / f"labels{suffix}", labels, image)
    assert (stored_numbers(tmp_path / f"labels{suffix}") == image.layout.undo(labels)).all()
    assert stored_numbers(tmp_path / f"labels{suffix}").shape == (6, 9)
    read = next(inspect_image_file(tmp_path / f"labels{suffix}").images(labels=True))
    assert (read.array == labels).all()
    write_mask(tmp_path / "mask.png", labels > 20, image)
    assert ((stored_numbers(tmp_path / "mask.png") > 0) == (image.layout.undo(labels) > 20)).all()


@pytest.mark.parametrize("offset", [0, 70_000])
def test_a_volume_counts_on_from_slice_to_slice(tmp_path, offset):
    nibabel = pytest.importorskip("nibabel")
    affine = np.diag([-2.0, 1.5, 3.0, 1.0])
    scan = np.random.default_rng(0).integers(0, 200, (5, 4, 3)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(scan, affine), tmp_path / "scan.nii.gz")
    slices = list(read_images(tmp_path / "scan.nii.gz"))
    assert label_suffix(inspect_image_file(tmp_path / "scan.nii.gz")) == ".nii.gz"
    labels = [np.zeros(one.size, np.int32) for one in slices]
    labels[0][0, :2] = 1, 2 + offset
    labels[2][1, :2] = 2, 1
    write_labels(tmp_path / "labels.nii.gz", labels, slices[0])
    found = nibabel.load(tmp_path / "labels.nii.gz")
    assert (found.affine == affine).all()
    assert found.get_data_dtype() == (np.int32 if offset else np.uint16)
    values = np.asanyarray(found.dataobj)
    for number, (one, image) in enumerate(zip(labels, slices, strict=True)):
        # Slice 3 begins after the two numbers of slice 1.
        expected = np.where(one != 0, one + (2 + offset if number else 0), 0)
        assert (values[..., number] == image.layout.undo(expected)).all()
    with pytest.raises(InputError, match="Received 2 label images for the 3 slices"):
        write_labels(tmp_path / "labels.nii.gz", labels[:2], slices[0])
    with pytest.raises(InputError, match="NIfTI label image without a NIfTI image"):
        write_labels(tmp_path / "labels.nii.gz", labels)
    # A slice by itself is upright in a PNG file, which has no axes.
    write_labels(tmp_path / "slice.png", labels[2], slices[2])
    assert (stored_numbers(tmp_path / "slice.png") == labels[2]).all()


def test_a_format_that_writes_masks_alone_gets_png_files(tmp_path):
    class MasksAlone(FileFormat):
        name, mask_suffixes = "of one bit", (".bit",)

        def open(self, path):
            return ImageSource(3, 4, 1, lambda: iter([Frame(LABELS)]))

        def write_masks(self, path, masks, reference):
            path.touch()

    path = tmp_path / "image.bit"
    format = MasksAlone()
    file = ImageFile(path, format.open(path), format)
    assert (file.mask_suffix, label_suffix(file)) == (".bit", ".png")


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("labels.jpg", LABELS, "expected a name ending in .png, .tif, .tiff, .nii or .nii.gz"),
        ("labels.png", LABELS - 1, "Received labels from -1 to 10; expected 0 for the background"),
        ("labels.tiff", LABELS + 2**31, "Received labels from 0 to 2147483659"),
        ("labels.png", LABELS / 2, "of shape \\(3, 4\\) and type float64; expected integers"),
        ("labels.png", LABELS[None], "of shape \\(1, 3, 4\\)"),
        ("labels.png", LABELS[:0], "label image of shape \\(0, 4\\); expected \\(height, width\\)"),
    ],
)
def test_labels_that_cannot_be_written(tmp_path, name, labels, message):
    with pytest.raises(InputError, match=message):
        write_labels(tmp_path / name, labels)
    assert not list(tmp_path.iterdir())


def test_labels_must_fit_their_image(save, tmp_path):
    image = read_image(save(np.zeros((6, 9), np.uint8)))
    with pytest.raises(InputError, match=r"label image of shape \(3, 4\) for .*which has \(6, 9\)"):
        write_labels(tmp_path / "labels.png", LABELS, image)
