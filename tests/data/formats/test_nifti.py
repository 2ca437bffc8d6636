import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from keras_espmedsam.data import (
    Record,
    read_image,
    read_images,
    read_masks,
    read_samples,
    write_mask,
)
from keras_espmedsam.data.images import inspect_image_file
from keras_espmedsam.errors import InputError

nibabel = pytest.importorskip("nibabel", reason="needs the extra medical")

VOLUME = np.arange(5 * 4 * 3, dtype=np.int16).reshape(5, 4, 3)
LPS = np.diag([-2.0, -2.0, 3.0, 1.0])
AFFINES = {
    "LPS": LPS,
    "RAS": np.diag([1.0, 1.0, 1.0, 1.0]),
    "oblique": np.array(
        [[0.1, -1.9, 0.2, 3], [0.1, 0.2, 2.5, -7], [2.1, 0.1, -0.1, 11], [0, 0, 0, 1.0]]
    ),
}


@pytest.fixture
def write(tmp_path):
    def write_nifti(data, affine=LPS, name="scan.nii.gz", image_class=None, **header):
        image = (image_class or nibabel.Nifti1Image)(data, affine)
        for field, value in header.items():
            image.header[field] = value
        path = tmp_path / name
        nibabel.save(image, path)
        return path

    return write_nifti


def test_slices_are_scaled_together(write):
    images = list(read_images(write(VOLUME)))
    assert [(p.index, p.count, p.size) for p in images] == [(k, 3, (4, 5)) for k in range(3)]
    low, high = np.percentile(VOLUME, (0.5, 99.5))
    expected = np.clip((VOLUME - low) / (high - low), 0, 1)
    for k, image in enumerate(images):
        assert image.array.dtype == np.float32
        np.testing.assert_allclose(image.array, expected[:, :, k].T, atol=1e-6)


def test_the_display_range_of_the_header_counts(write):
    image = next(read_images(write(VOLUME, cal_min=10, cal_max=30)))
    expected = np.clip((VOLUME[..., 0] - 10) / 20, 0, 1)
    np.testing.assert_allclose(image.array.T, expected, atol=1e-6)


def test_scaled_storage(tmp_path, write):
    """A file may store a slope and an intercept, here negative: bright becomes dark."""
    image = nibabel.Nifti1Image(VOLUME, LPS)
    image.header.set_slope_inter(-2, 5)
    nibabel.save(image, tmp_path / "scaled.nii")
    stored = nibabel.load(tmp_path / "scaled.nii").get_fdata()
    low, high = np.percentile(stored, (0.5, 99.5))
    image = next(read_images(tmp_path / "scaled.nii"))
    expected = np.clip((stored[..., 0] - low) / (high - low), 0, 1)
    np.testing.assert_allclose(image.array.T, expected, atol=0.02)


def test_uint8_is_taken_as_it_is(write):
    path = write(VOLUME.astype(np.uint8), name="scan.nii")
    np.testing.assert_array_equal(next(read_images(path)).array, VOLUME[..., 0].T)


def test_rgb(write):
    data = np.zeros((5, 4, 1), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    data["G"][2, 1] = 200
    image = read_image(write(data))
    assert image.array.shape == (4, 5, 3)
    assert image.array[1, 2].tolist() == [0, 200, 0]


@pytest.mark.parametrize("image_class", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_colours_as_vectors_which_itk_writes(tmp_path, write, image_class):
    data = np.zeros((5, 4, 2, 1, 3), "u1")
    data[2, 1, 1] = (9, 200, 7)
    path = write(data, image_class=image_class, intent_code=1007)
    _, image = read_images(path)
    assert image.array.shape == (4, 5, 3)
    assert image.array[1, 2].tolist() == [9, 200, 7]
    write_mask(tmp_path / "mask.nii.gz", [np.zeros((4, 5), bool)] * 2, image)
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    assert mask.shape == (5, 4, 2)
    np.testing.assert_array_equal(mask.affine, LPS)
    with pytest.raises(InputError, match="colours of 8 bits"):
        read_image(write(data.astype("i2")))


@pytest.mark.parametrize(
    ("codes", "right", "down"),
    # What a step along the stored axes means, and which way the image must run.
    [("LPS", (1, 0), (0, 1)), ("RAS", (-1, 0), (0, -1)), ("PLS", (0, 1), (1, 0)),
     ("PSR", (1, 0), (0, -1)), ("SPR", (0, 1), (-1, 0)), ("RSA", (-1, 0), (0, -1))],
)  # fmt: skip
def test_slices_stand_as_radiologists_see_them(write, codes, right, down):
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    for axis, code in enumerate(codes):
        row = next(k for k, pair in enumerate(("LR", "PA", "IS")) if code in pair)
        affine[row, axis] = 1 if code in "RAS" else -1
    assert "".join(nibabel.aff2axcodes(affine)) == codes
    x, y = np.meshgrid(np.arange(5), np.arange(4), indexing="ij")
    stored = np.stack([x, y], axis=-1).astype(np.uint8)
    data = np.zeros((5, 4, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    data["R"], data["G"] = stored[..., :1], stored[..., 1:]
    array = next(read_images(write(data, affine))).array.astype(int)
    assert tuple(array[0, 1, :2] - array[0, 0, :2]) == right
    assert tuple(array[1, 0, :2] - array[0, 0, :2]) == down


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES.keys())
@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 3), (5, 4, 3, 2)])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_masks_keep_shape_and_affine(tmp_path, write, affine, shape, name):
    data = np.random.default_rng(0).random(shape, dtype=np.float32)
    path = write(data, affine, name)
    images = list(read_images(path))
    low, high = np.percentile(data, (0.5, 99.5))
    half = (0.6 - low) / (high - low)
    out = tmp_path / f"mask_of_{name}"
    write_mask(out, [image.array > half for image in images], images[0])
    mask, source = nibabel.load(out), nibabel.load(path)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), data > 0.6)
    assert mask.shape == shape
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.affine, source.affine)
    assert mask.header.get_zooms() == source.header.get_zooms()


@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 1), (1, 4)])
def test_masks_keep_the_codes_and_a_quaternion(tmp_path, write, codes):
    image = nibabel.Nifti1Image(VOLUME, None)
    image.set_qform(AFFINES["oblique"], codes[0])
    image.set_sform(AFFINES["oblique"], codes[1])
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, tmp_path / "scan.nii")
    image = next(read_images(tmp_path / "scan.nii"))
    write_mask(tmp_path / "mask.nii", np.zeros((3, *image.size)), image)
    mask, source = nibabel.load(tmp_path / "mask.nii"), nibabel.load(tmp_path / "scan.nii")
    np.testing.assert_array_equal(mask.affine, source.affine)
    np.testing.assert_array_equal(mask.get_qform(), source.get_qform())
    assert mask.header["qform_code"] == codes[0]
    assert mask.header["sform_code"] == codes[1]
    assert mask.header.get_xyzt_units() == ("mm", "sec")


def test_nifti_2(tmp_path, write):
    path = write(VOLUME, image_class=nibabel.Nifti2Image, name="scan.nii")
    image = next(read_images(path))
    write_mask(tmp_path / "mask.nii", np.ones((3, *image.size)), image)
    assert isinstance(nibabel.load(tmp_path / "mask.nii"), nibabel.Nifti2Image)


def test_no_text_of_the_header_goes_into_the_mask(tmp_path, write):
    path = write(VOLUME, name="scan.nii", descrip=b"Doe Jane", db_name=b"Doe", aux_file=b"Doe")
    image = nibabel.load(path)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Doe Jane"))
    nibabel.save(image, path := tmp_path / "extended.nii")
    assert b"Doe" in path.read_bytes()
    image = next(read_images(path))
    write_mask(tmp_path / "mask.nii", np.zeros((3, *image.size)), image)
    assert b"Doe" not in (tmp_path / "mask.nii").read_bytes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.array([[[0.0], [np.nan]]], np.float32), "NaN or infinite"),
        (np.array([[[0.0], [np.inf]]], np.float32), "NaN or infinite"),
        (np.ones((2, 2, 1), np.complex64), "complex64"),
        (np.ones((2, 2, 1, 1, 2), np.uint8), "two .one slice., three or four"),
    ],
)
def test_volumes_that_cannot_be_used(write, data, message):
    with pytest.raises(InputError, match=message):
        list(read_images(write(data)))


def test_limits(write):
    path = write(np.zeros((5, 4, 9), np.uint8))
    with pytest.raises(InputError, match="20 pixels; the limit is 19"):
        list(read_images(path, max_pixels=19))
    with pytest.raises(InputError, match=r"9 slices of 5 x 4, 180 voxels; the limit .* is 160"):
        list(read_images(path, max_pixels=40))
    assert len(list(read_images(path, max_pixels=45))) == 9


LABELS = (VOLUME % 7 < 2).astype(np.int16)


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_slices_with_those_of_a_label_volume(write, affine, dtype):
    """A slice without any label and one of labels alone included."""
    labels = LABELS.copy()
    labels[..., 0], labels[..., 2] = 0, 1
    image, mask = write(VOLUME, affine), write(labels.astype(dtype), affine, "labels.nii.gz")
    samples = list(read_samples(Record("train", "mr", "brains", image, mask)))
    assert len(samples) == 3
    for k, (image, mask) in enumerate(samples):
        stored = image.layout.undo(mask)
        np.testing.assert_array_equal(stored, labels[:, :, k] == 1)
        assert mask.shape == image.size


def test_labels_are_read_as_stored(write):
    """Scaled as an image is, two labels would look like one and half of one."""
    with pytest.raises(InputError, match="holds 3 different values up to 2"):
        list(read_masks(write(VOLUME % 3)))
    scaled = nibabel.Nifti1Image(LABELS, LPS)
    scaled.header.set_slope_inter(2.5, 0)
    path = write(LABELS)
    nibabel.save(scaled, path)
    masks = np.stack(list(read_masks(path)), axis=-1)
    np.testing.assert_array_equal(masks, LABELS > 0)


def test_volumes_that_lie_differently_are_no_pair(write):
    image, mask = write(VOLUME), write(LABELS, np.diag([1.0, 1, 1, 1]), "labels.nii.gz")
    with pytest.raises(InputError, match=r"are volumes of different orientation; .*Resample"):
        list(read_samples(Record("train", "mr", "brains", image, mask)))


# === Black and white ===


def stored_as(path, data, slope, intercept, **header):
    """A file with these values and this slope: nibabel would choose its own."""
    image = nibabel.Nifti1Image(data, LPS)
    for field, value in header.items():
        image.header[field] = value
    nibabel.save(image, path)
    content = bytearray(path.read_bytes())
    content[112:120] = struct.pack("<ff", slope, intercept)
    path.write_bytes(content)
    return path


def by_percentiles(values):
    low, high = np.percentile(values, (0.5, 99.5))
    return np.clip((values - low) / (high - low), 0, 1)


def stack(path, **options):
    return np.stack([image.array.T for image in read_images(path, **options)], axis=-1)


V = VOLUME.astype(float)


@pytest.mark.parametrize(
    ("slope", "intercept", "expected"),
    [
        (2, -1000, by_percentiles(V)),
        (-1, 0, by_percentiles(-V)),
        (1e-3, 5, by_percentiles(V)),
        (0, 0, by_percentiles(V)),  # no slope at all
        (0, 5, by_percentiles(V)),
        (float("nan"), 0, by_percentiles(V)),
    ],
)
def test_slopes(tmp_path, slope, intercept, expected):
    path = stored_as(tmp_path / "a.nii", VOLUME, slope, intercept)
    np.testing.assert_allclose(stack(path), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (10, 30, np.clip((V * 2 - 10) / 20, 0, 1)),
        (30, 10, by_percentiles(V)),
        (7, 7, by_percentiles(V)),
        (float("nan"), 7, by_percentiles(V)),
        (0, float("inf"), by_percentiles(V)),
    ],
)
def test_display_ranges(tmp_path, low, high, expected):
    """Of the rescaled values; one that is none does not count."""
    path = stored_as(tmp_path / "a.nii", VOLUME, 2, 0, cal_min=low, cal_max=high)
    np.testing.assert_allclose(stack(path), expected, atol=1e-4)


def test_a_display_range_beside_all_values_is_told(tmp_path):
    path = stored_as(tmp_path / "a.nii", VOLUME, 1, 0, cal_min=500, cal_max=600)
    with pytest.warns(match="its window shows all values alike"):
        assert not stack(path).any()


@pytest.mark.parametrize("dtype", ["i1", "u2", "i2", "i4", "u4", "f4", "f8", "i8", "u8", ">i2"])
def test_values_of_every_type(tmp_path, dtype):
    values = V - 30 if dtype == "i1" else V * 9
    image = nibabel.Nifti1Image(values.astype(dtype), LPS, dtype=np.dtype(dtype))
    nibabel.save(image, tmp_path / "a.nii.gz")
    np.testing.assert_allclose(stack(tmp_path / "a.nii.gz"), by_percentiles(values), atol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "slope", "intensity", "expected"),
    [
        ("i2", 1, "full", (V + 32768) / 65535),
        ("u1", 2, "full", V / 255),
        ("u1", -1, "full", 1 - V / 255),
        ("i2", 2, "0:60", np.clip(V * 2 / 60, 0, 1)),
        ("u1", 1, (10, 30), np.clip((V - 10) / 20, 0, 1)),
        ("f4", 1, (10, 30), np.clip((V - 10) / 20, 0, 1)),
    ],
)
def test_intensity(tmp_path, dtype, slope, intensity, expected):
    path = stored_as(tmp_path / "a.nii", VOLUME.astype(dtype), slope, 0, cal_min=1, cal_max=2)
    np.testing.assert_allclose(stack(path, intensity=intensity), expected, atol=1e-5)


def test_floats_have_no_whole_range(write):
    with pytest.raises(InputError, match="'full' for measured floating-point values"):
        stack(write(V.astype("f4")), intensity="full")


# === Files ===


@pytest.mark.parametrize("image_class", ["Nifti1Image", "Nifti2Image"])
@pytest.mark.parametrize(
    ("name", "gzipped"),
    [("a.nii", True), ("a.nii.gz", False), ("a", False), ("a", True), ("a.dcm", True)],
)
def test_the_content_says_whether_it_is_gzipped(write, tmp_path, image_class, name, gzipped):
    good = write(
        VOLUME, name="good.nii.gz" if gzipped else "good.nii",
        image_class=getattr(nibabel, image_class),
    )  # fmt: skip
    path = tmp_path / name
    path.write_bytes(good.read_bytes())
    np.testing.assert_allclose(stack(path), by_percentiles(V), atol=1e-4)


def test_the_two_files_of_a_pair(tmp_path):
    nibabel.save(nibabel.Nifti1Pair(VOLUME, LPS), tmp_path / "a.img")
    for name in ("a.img", "a.hdr"):
        with pytest.raises(InputError, match=r"NIfTI as a pair of .hdr and .img"):
            list(read_images(tmp_path / name))


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1, 1), (5, 4, 3, 2)])
def test_dimensions(write, shape):
    data = np.arange(np.prod(shape)).reshape(shape).astype("i2")
    images = list(read_images(write(data)))
    slices = data.reshape(*shape[:2], -1, order="F")
    assert len(images) == slices.shape[-1]
    expected = by_percentiles(data.astype(float)).reshape(*shape[:2], -1, order="F")
    for k, image in enumerate(images):
        np.testing.assert_allclose(image.array.T, expected[..., k], atol=1e-4)


def test_a_real_label_volume(shared_dir):
    path = shared_dir / "formats" / "anatomical_label.nii.gz"
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    images = list(read_images(path))
    assert [image.array.shape for image in images] == [(41, 33)] * 25
    assert max(image.array.max() for image in images) < 0.05


# === Files made by strangers ===


def patched(write, *fields, shape=(5, 4, 3)):
    """A sound file with fields of its header overwritten: format, place, values."""
    path = write(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), name="scan.nii")
    content = bytearray(path.read_bytes())
    for kind, place, *values in fields:
        struct.pack_into(f"<{len(values)}{kind}", content, place, *values)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_affine_that_is_none_is_refused(write, value):
    path = patched(write, ("h", 254, 1), ("f", 280, *[value] * 12))
    with pytest.raises(InputError, match="has no valid position"):
        list(read_images(path))


@pytest.mark.parametrize("rows", [[0] * 12, [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0]])
def test_a_mask_repeats_an_affine_that_cannot_be_taken_apart(tmp_path, write, rows):
    path = patched(write, ("h", 252, 0, 1), ("f", 280, *rows))
    images = list(read_images(path))
    masks = [image.array > 0 for image in images]
    write_mask(tmp_path / "mask.nii", masks, images[0])
    wanted, found = path.read_bytes()[280:328], (tmp_path / "mask.nii").read_bytes()[280:328]
    assert found == wanted


def test_more_values_than_the_file_can_hold_are_refused_before_there_is_room(write):
    path = patched(write, ("h", 40, 4, 30_000, 3000, 4, 1))
    with pytest.raises(InputError, match=r"promises 720,000,000 bytes of values"):
        list(read_images(path, max_pixels=10**9))


def test_a_type_that_is_no_brightness_is_refused_by_the_header(write):
    path = patched(write, ("h", 70, 32, 64))
    with pytest.raises(InputError, match="holds values of type complex64"):
        inspect_image_file(path)


def test_a_gzipped_file_of_another_name_is_not_inflated_as_a_whole(tmp_path, write):
    content = write(np.ones((5, 4, 3), np.uint8), name="a.nii").read_bytes() + bytes(100_000_000)
    path = tmp_path / "scan.dat"
    path.write_bytes(gzip.compress(content, 1))
    tracemalloc.start()
    assert len(list(read_images(path))) == 3
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000
