import warnings

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import Record, check_records, read_image, read_samples, write_mask
from keras_espmedsam.data.images import inspect_image_file
from keras_espmedsam.data.layout import Layout
from keras_espmedsam.data.pairing import pair_layout
from keras_espmedsam.errors import InputError, InputWarning

# Upright: dark at the top left, and that is the mask. 10 x 6, and a square.
WIDE, SQUARE = np.full((6, 10), 200, "uint8"), np.full((8, 8), 200, "uint8")
for one in (WIDE, SQUARE):
    one[:2, :3] = 40


def _save(path, upright, orientation=1, stored_as=None):
    """Store an upright array so that a viewer that knows EXIF shows it upright again."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    array = Layout.from_exif(orientation if stored_as is None else stored_as).undo(upright)
    options = {"exif": exif} if orientation != 1 else {}
    Image.fromarray(np.ascontiguousarray(array)).save(path, **options)
    return path


def _read(image, mask):
    """The image and the mask, upright, and what was told."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ((image, found),) = read_samples(Record("train", "dermoscopy", "d", image, mask))
    told = [str(one.message) for one in caught if issubclass(one.category, InputWarning)]
    return image, found, told


def _mask(upright):
    return np.where(upright < 100, 255, 0).astype("uint8")


@pytest.mark.parametrize("upright", [WIDE, SQUARE], ids=["wide", "square"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_mask_without_orientation_is_upright(tmp_path, upright, orientation, suffix):
    """As labelling tools write it; told where a turn keeps the size."""
    image = tmp_path / f"photo{suffix}"
    if suffix == ".tif":
        array = np.ascontiguousarray(Layout.from_exif(orientation).undo(upright))
        Image.fromarray(array).save(image, tiffinfo={274: orientation})
    else:
        _save(image, upright, orientation)
    image, found, told = _read(image, _save(tmp_path / "mask.png", _mask(upright)))
    np.testing.assert_array_equal(image.array, upright)
    np.testing.assert_array_equal(found, upright < 100)
    both_fit = orientation != 1 and (orientation < 5 or upright is SQUARE)
    assert len(told) == both_fit
    if told:
        assert f"has an EXIF orientation ({orientation})" in told[0]
        assert "is read as upright" in told[0]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_mask_that_only_fits_what_is_stored(tmp_path, orientation):
    image = _save(tmp_path / "photo.png", WIDE, orientation)
    mask = _save(tmp_path / "mask.png", _mask(WIDE), 1, stored_as=orientation)
    _, found, told = _read(image, mask)
    if orientation >= 5:  # these exchange height and width
        np.testing.assert_array_equal(found, WIDE < 100)
        assert "is read as stored, the only way its size fits" in told[0]
    else:
        assert "is read as upright" in told[0]


@pytest.mark.parametrize("of_image", range(1, 9))
@pytest.mark.parametrize("of_mask", [3, 6])
def test_each_is_turned_by_its_own_orientation(tmp_path, of_image, of_mask):
    image = _save(tmp_path / "photo.png", WIDE, of_image)
    _, found, told = _read(image, _save(tmp_path / "mask.png", _mask(WIDE), of_mask))
    np.testing.assert_array_equal(found, WIDE < 100)
    assert len(told) == (of_image == 1 and of_mask == 3)
    if told:
        assert "only its mask" in told[0] and "by its own orientation" in told[0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("upright", [WIDE, SQUARE], ids=["wide", "square"])
def test_masks_that_write_mask_wrote(tmp_path, upright, orientation):
    image = _save(tmp_path / "photo.png", upright, orientation)
    write_mask(tmp_path / "mask.png", _mask(upright), read_image(image))
    _, found, told = _read(image, tmp_path / "mask.png")
    np.testing.assert_array_equal(found, upright < 100)
    assert told == []


def test_sizes_that_fit_in_no_way_name_exif(tmp_path):
    image = _save(tmp_path / "photo.png", WIDE, 6)
    mask = _save(tmp_path / "mask.png", _mask(SQUARE))
    message = (
        r"photo.png has 6 x 10 pixels, turned to 10 x 6 by EXIF orientation 6 and its mask "
        r".*mask.png 8 x 8; expected the same size"
    )
    with pytest.raises(InputError, match=message):
        _read(image, mask)
    with pytest.raises(InputError, match=message):
        check_records([Record("train", "dermoscopy", "d", image, mask)], scan=False)


def test_several_masks_of_one_image_are_taken_together(tmp_path):
    image = _save(tmp_path / "photo.png", WIDE, 6)
    first, second = np.zeros_like(WIDE), np.zeros_like(WIDE)
    first[0, :4], second[3:, 2] = 255, 1
    paths = [_save(tmp_path / f"{k}.png", one) for k, one in enumerate((first, second))]
    record = Record("train", "xray", "d", image, paths[0], other_masks=(paths[1],))
    ((_, found),) = read_samples(record)
    np.testing.assert_array_equal(found, (first > 0) | (second > 0))
    _save(paths[1], SQUARE * 0)
    with pytest.raises(InputError, match=r"its mask .*1.png 8 x 8; expected the same size"):
        check_records([record], scan=False)


nibabel = pytest.importorskip("nibabel", reason="needs the extra medical")
SHAPE = (6, 5, 4)
LPS = np.array([[-0.8, 0, 0, 90], [0, -0.8, 0, 120], [0, 0, 3, -40], [0, 0, 0, 1.0]])


def _turned(affine, degrees):
    """Turned about the patient's long axis."""
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ affine


def _moved(affine, *millimetres):
    moved = affine.copy()
    moved[:3, 3] += millimetres
    return moved


def _spaced(affine, factor):
    return affine @ np.diag([1, 1, factor, 1])


@pytest.fixture
def pair(tmp_path):
    """Write an image and a mask, and say how they lie on each other."""

    def pair_volumes(mask_affine, shape=SHAPE, codes=None, image_codes=None):
        paths = tmp_path / "scan.nii.gz", tmp_path / "labels.nii.gz"
        for path, affine, size, code in (
            (paths[0], LPS, SHAPE, image_codes),
            (paths[1], mask_affine, shape, codes),
        ):
            # With an affine nibabel would set the codes again.
            volume = nibabel.Nifti1Image(
                np.zeros(size, "uint8"), None if code == (0, 0) else affine
            )
            if code is not None:
                volume.header["qform_code"], volume.header["sform_code"] = code
            nibabel.save(volume, path)
        return pair_layout(*(inspect_image_file(path) for path in paths))

    return pair_volumes


@pytest.mark.parametrize(
    ("affine", "shape"),
    [
        (LPS, SHAPE),
        (LPS, (*SHAPE, 1)),
        (LPS.astype("float32"), SHAPE),
        (_moved(LPS, 0.04, -0.04, 0.2), SHAPE),
        (_turned(LPS, 0.01), SHAPE),
        (_spaced(LPS, 1.0001), SHAPE),
    ],
    ids=["same", "a dimension of 1", "float32", "moved a little", "turned a little", "rounded"],
)
def test_voxels_at_the_same_place_are_a_pair(pair, affine, shape):
    assert pair(affine, shape) == (True, "")


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (_moved(LPS, 0, 0, 12), r"different place; the mask's origin lies 0, 0, 12 mm from"),
        (_moved(LPS, 0.2, 0, 0), "different place; the mask's origin lies 0.2, 0, 0 mm from"),
        (_spaced(LPS, 2), r"different voxel size; the mask's measure 0.8 x 0.8 x 6 mm, the image"),
        (_turned(LPS, 5), "different orientation; the mask is rotated by 5.0 degrees"),
        (np.eye(4), "orientation; the mask's axes point to the patient's R, A, S, the image's to "),
        (LPS @ np.diag([-1, 1, 1, 1]), "axes point to the patient's R, P, S, the image's to L, P"),
        (LPS[:, [1, 0, 2, 3]], "axes point to the patient's P, L, S, the image's to L, P, S"),
    ],
    ids=["moved", "a quarter voxel", "spacing", "rotated", "identity", "mirrored", "transposed"],
)
def test_voxels_at_other_places_are_no_pair(pair, affine, message):
    with pytest.raises(InputError, match=message + ".*Resample the mask to the image's grid"):
        pair(affine)


def test_the_places_are_compared_before_the_run(tmp_path):
    for name, affine in (("scan.nii.gz", LPS), ("labels.nii.gz", _moved(LPS, 0, 0, 12))):
        nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, "uint8"), affine), tmp_path / name)
    record = Record("train", "mr", "d", tmp_path / "scan.nii.gz", tmp_path / "labels.nii.gz")
    with pytest.raises(InputError, match="origin lies 0, 0, 12 mm"):
        check_records([record], scan=False)


def test_other_shapes_are_no_pair(pair):
    with pytest.raises(InputError, match=r"holds 4 images and its mask .* 5; expected the same"):
        pair(LPS, (6, 5, 5))
    with pytest.raises(
        InputError, match=r"the shape 6 x 5 x 4 and its mask .* 5 x 6 x 4; expected"
    ):
        pair(LPS, (5, 6, 4))


def test_headers_without_geometry(pair):
    """Tools that drop the header keep the voxels' order: they are paired by it, and it is told."""
    assert pair(LPS, codes=(0, 0), image_codes=(0, 0)) == (True, "")
    as_image, notice = pair(LPS, codes=(0, 0))
    assert as_image and "its mask's header does not give its position (qform_code" in notice
    as_image, notice = pair(LPS, image_codes=(0, 0))
    assert as_image and "its header does not give its position" in notice
    # Each of both forms says it by itself.
    assert pair(LPS, codes=(1, 0)) == pair(LPS, codes=(0, 1)) == (True, "")


def test_voxels_without_a_size(tmp_path):
    """Of careless headers: equal ones are a pair, others are not."""
    files = []
    for name, offset in (("scan.nii", 0), ("same.nii", 0), ("moved.nii", 5)):
        volume = nibabel.Nifti1Image(np.zeros(SHAPE, "uint8"), None)
        volume.header["sform_code"], volume.header["qform_code"] = 1, 0
        volume.header["srow_x"] = [1, 0, 0, offset]
        volume.header["srow_y"], volume.header["srow_z"] = [0, 1, 0, 0], [0, 0, 0, 0]
        nibabel.save(volume, tmp_path / name)
        files.append(inspect_image_file(tmp_path / name))
    assert pair_layout(files[0], files[1]) == (True, "")
    with pytest.raises(InputError, match="different place; the mask's origin lies 5, 0, 0 mm"):
        pair_layout(files[0], files[2])


def test_voxels_stay_together_where_the_mask_has_no_geometry(tmp_path):
    values = np.arange(np.prod(SHAPE), dtype="uint8").reshape(SHAPE)
    nibabel.save(nibabel.Nifti1Image(values, LPS), tmp_path / "scan.nii")
    labels = nibabel.Nifti1Image((values % 7 == 0).astype("uint8"), None)
    nibabel.save(labels, tmp_path / "labels.nii")
    record = Record("train", "mr", "d", tmp_path / "scan.nii", tmp_path / "labels.nii")
    with pytest.warns(InputWarning, match="in the same order"):
        samples = list(read_samples(record, intensity="full"))
    for k, (image, mask) in enumerate(samples):
        np.testing.assert_array_equal(image.layout.undo(mask), values[:, :, k] % 7 == 0)


def test_a_volume_as_the_mask_of_another_kind_of_image(tmp_path):
    """Both are upright: the volume as radiologists look at it, by its own header."""
    upright = WIDE
    nibabel.save(nibabel.Nifti1Image(_mask(upright).T[..., None], LPS), tmp_path / "labels.nii")
    image = _save(tmp_path / "slice.png", upright)
    _, found, told = _read(image, tmp_path / "labels.nii")
    np.testing.assert_array_equal(found, upright < 100)
    assert "only its mask is NIfTI" in "".join(told)


def test_a_mask_of_a_volume_that_is_none_is_told(tmp_path):
    """An exported PNG may be of the slice as stored, or mirrored: nothing in it says so."""
    nibabel.save(nibabel.Nifti1Image(WIDE.T[..., None], LPS), tmp_path / "scan.nii")
    mask = _save(tmp_path / "mask.png", _mask(WIDE))
    _, found, told = _read(tmp_path / "scan.nii", mask)
    np.testing.assert_array_equal(found, WIDE < 100)
    assert "only the image is NIfTI" in "".join(told)
