import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import (
    Record,
    read_image,
    read_mask,
    read_masks,
    read_samples,
    write_mask,
)
from keras_espmedsam.data.masks import decode_labels
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging import bands

INSIDE = np.zeros((40, 48), bool)
INSIDE[10:22, 12:30] = True
GREY = np.where(INSIDE, 255, 0).astype("uint8")


def _channels(back, front):
    return np.where(INSIDE[..., None], np.array(front, "uint8"), np.array(back, "uint8"))


def _save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("quality", [40, 60, 75, 95])
@pytest.mark.parametrize("colour", [False, True])
def test_jpeg(tmp_path, quality, colour):
    array = np.stack([GREY] * 3, axis=-1) if colour else GREY
    found = read_mask(_save(tmp_path / "mask.jpg", array, quality=quality))
    assert (found != INSIDE).mean() < 0.005


@pytest.mark.parametrize("quality", [50, 80, 95])
def test_webp(tmp_path, quality):
    """Its blocks hold areas of 1 and 254 beside an edge, which are no labels."""
    rows, columns = np.mgrid[:160, :192]
    disc = np.hypot(rows - 70, columns - 90) < 50
    path = _save(tmp_path / "mask.webp", np.where(disc, 255, 0).astype("uint8"), quality=quality)
    assert (read_mask(path) != disc).mean() < 0.005


@pytest.mark.parametrize("front", [1, 255, 65535])
def test_colours_of_16_bits(tmp_path, front):
    """Of which the upper eight alone would lose small values."""
    array = np.where(INSIDE[..., None], np.uint16(front), np.uint16(0)) * np.ones(3, "uint16")
    path = tmp_path / "mask.ppm"
    path.write_bytes(b"P6 48 40 65535\n" + array.astype(">u2").tobytes())
    np.testing.assert_array_equal(read_mask(path), INSIDE)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize(
    ("back", "front"),
    [
        ((0, 0, 0), (255, 0, 0)),
        ((0, 0, 0, 0), (0, 0, 0, 255)),
        ((255, 255, 255, 0), (255, 255, 255, 255)),
        ((0, 0, 0, 0), (255, 0, 0, 255)),
        ((0, 0, 0, 255), (255, 255, 255, 255)),
    ],
    ids=["red", "black ink", "white ink", "red ink", "opaque"],
)
def test_colours_and_alpha(tmp_path, suffix, back, front):
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    path = _save(tmp_path / f"mask{suffix}", _channels(back, front), **options)
    np.testing.assert_array_equal(read_mask(path), INSIDE)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_what_is_refused_names_the_file(tmp_path, suffix):
    path = _save(tmp_path / f"mask{suffix}", _channels((0, 0, 255), (255, 0, 0)))
    with pytest.raises(
        InputError, match=r"mask\..* cannot be used. Received a mask in several col"
    ):
        read_mask(path)
    void = np.where(INSIDE, 1, GREY)
    void[:2] = 255
    with pytest.raises(
        InputError, match=r"mask\..* holds 3 different values up to 255; expected 0"
    ):
        read_mask(_save(path, void.astype("uint8")))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".gif"])
def test_the_index_of_a_palette_counts(tmp_path, suffix):
    image = Image.fromarray(INSIDE.astype("uint8"))
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.save(tmp_path / f"mask{suffix}")
    np.testing.assert_array_equal(read_mask(tmp_path / f"mask{suffix}"), INSIDE)


def test_numbers_of_instances_in_16_bits(tmp_path):
    array = np.zeros((40, 48), "uint16")
    for i, column in enumerate(range(0, 48, 6)):
        array[5:35, column : column + 4] = 40000 + i
    for suffix in (".png", ".tif"):
        with pytest.raises(InputError, match="holds 9 different values up to 40007"):
            read_mask(_save(tmp_path / f"mask{suffix}", array))


def test_pages_are_read_by_one_scale(tmp_path):
    pages = [Image.fromarray(page) for page in (GREY, GREY * 0, GREY // 255)]
    path = tmp_path / "masks.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:2])
    assert [int(mask.sum()) for mask in read_masks(path)] == [INSIDE.sum(), 0]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match="holds 3 different values up to 255"):
        list(read_masks(path))


def test_colours_of_a_volume(tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="needs the extra medical")
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    for front, back, right in (((255, 0, 0), (0, 0, 0), True), ((255, 0, 0), (0, 0, 255), False)):
        data = np.empty((48, 40, 1), kind)
        for name, one, other in zip("RGB", front, back, strict=True):
            data[name] = np.where(INSIDE.T[..., None], one, other)
        nibabel.save(nibabel.Nifti1Image(data, np.diag([-1, -1, 1, 1])), tmp_path / "mask.nii")
        if right:
            np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii"), INSIDE.T)
        else:
            with pytest.raises(
                InputError, match=r"mask.nii cannot be used. Received a mask in sev"
            ):
                read_mask(tmp_path / "mask.nii")


def test_what_is_written_is_read_back(tmp_path):
    image = _save(tmp_path / "image.png", GREY)
    for mask in (INSIDE, ~INSIDE, INSIDE * 0, INSIDE * 0 + 1):
        write_mask(tmp_path / "mask.png", mask, read_image(image))
        np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), mask != 0)
        record = Record("train", "xray", "d", image, tmp_path / "mask.png")
        np.testing.assert_array_equal(next(read_samples(record))[1], mask != 0)


# === Files ===


def test_write_mask_is_0_and_255_and_replaces(tmp_path):
    path = tmp_path / "new" / "mask.png"
    write_mask(path, np.ones((2, 3), bool))
    write_mask(path, np.array([[0, 2, 0.5]]))
    with Image.open(path) as image:
        assert image.mode == "L"
        assert np.asarray(image).tolist() == [[0, 255, 255]]
    assert [file.name for file in path.parent.iterdir()] == ["mask.png"]


def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "mask.png"
    write_mask(path, np.ones((2, 3)))
    before = path.read_bytes()

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        write_mask(path, np.zeros((2, 3)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "mask", "message"),
    [
        ("mask.jpg", np.ones((2, 2)), "ending in .png"),
        ("mask.nii", np.ones((2, 2)), "NIfTI mask"),
        ("mask.png", np.ones((2, 2, 1)), r"\(2, 2, 1\); expected \(height, width\)"),
        ("mask.png", np.ones((0, 2)), "height, width"),
    ],
)
def test_masks_that_cannot_be_written(tmp_path, name, mask, message):
    with pytest.raises(InputError, match=message):
        write_mask(tmp_path / name, mask)


def test_a_mask_must_fit_its_image(tmp_path, save):
    with pytest.raises(InputError, match=r"mask of shape \(6, 4\).*\(4, 6\)"):
        write_mask(tmp_path / "mask.png", np.ones((6, 4)), read_image(save(GREY[:4, :6])))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 255], [False, True]),
        ([0, 1], [False, True]),
        ([0, 38], [False, True]),
        ([0, 0], [False, False]),
        ([255, 255], [True, True]),
        ([0, 3, 120, 135, 250, 255], [False, False, False, True, True, True]),
    ],
)
def test_read_mask(save, values, expected):
    assert read_mask(save(np.array([values], np.uint8))).tolist() == [expected]


def test_a_map_of_several_labels_is_no_mask(save):
    with pytest.raises(InputError, match="4 different values up to 3"):
        read_mask(save(np.array([[0, 1, 2, 3]], np.uint8)))


def test_masks_of_other_kinds(tmp_path, save):
    colour = np.zeros((2, 2, 3), np.uint8)
    colour[0, 0] = (255, 0, 0)
    assert read_mask(save(colour)).tolist() == [[True, False], [False, False]]
    assert read_mask(save(Image.new("1", (2, 1), 1))).tolist() == [[True, True]]
    gif = save(np.array([[0, 255]], np.uint8), "mask.gif")
    assert read_mask(str(gif)).tolist() == [[False, True]]


@pytest.mark.parametrize("turned", [False, True])
def test_a_large_mask_is_written_in_bands_to_the_same_bytes(monkeypatch, tmp_path, turned):
    mask = np.random.default_rng(0).random((30, 50)) < 0.5
    mask = mask[::-1].T if turned else mask
    write_mask(tmp_path / "whole.png", mask)
    monkeypatch.setattr(bands, "BAND_VALUES", 200)
    write_mask(tmp_path / "bands.png", mask)
    assert (tmp_path / "bands.png").read_bytes() == (tmp_path / "whole.png").read_bytes()
    np.testing.assert_array_equal(read_mask(tmp_path / "bands.png"), mask)


LABELS = np.array([[0, 1, 2], [3, 2, 1]])


def _write_labels(path, array):
    if path.name.endswith(".nii.gz"):
        nibabel = pytest.importorskip("nibabel")
        nibabel.save(nibabel.Nifti1Image(array.T[:, ::-1, None], np.eye(4)), path)
    elif path.suffix == ".tif":
        pytest.importorskip("tifffile").imwrite(path, array)
    else:
        Image.fromarray(array).save(path)
    return path


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *(("a.png", dtype) for dtype in ("uint8", "uint16")),
        *(("a.tif", dtype) for dtype in ("uint8", "uint16", "int32", "uint32", "float32")),
        *(("a.tif", dtype) for dtype in ("int16", "int64", "float64")),
        *(("a.nii.gz", dtype) for dtype in ("uint8", "int16", "int32", "float32", "float64")),
    ],
)
def test_whole_numbers_of_every_type(tmp_path, name, dtype):
    path = _write_labels(tmp_path / name, (LABELS * 60).astype(dtype))
    for table in (None, "", "60=a;120=b;180=c"):
        (image,) = decode_labels(path, table=table)
        assert image.array.dtype == "int32"
        if path.suffix == ".gz":  # Turned the way radiologists look at it.
            assert sorted(image.array.ravel()) == sorted(LABELS.ravel() * 60)
        else:
            np.testing.assert_array_equal(image.array, LABELS * 60)


def test_numbers_beyond_32_bits(tmp_path):
    path = _write_labels(tmp_path / "a.tif", np.array([[0, 2**40, 7]], "int64"))
    assert next(decode_labels(path)).array.tolist() == [[0, 2**40, 7]]


def test_indices_of_a_palette(tmp_path):
    image = Image.fromarray(LABELS.astype("uint8"), "P")
    image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(next(decode_labels(tmp_path / "a.png")).array, LABELS)


@pytest.mark.parametrize(
    ("array", "table", "message"),
    [
        (LABELS.astype("uint8"), "1=lungs;2=heart",
         r"a.tif holds the value 3 without a name in its labels '1=lungs;2=heart'; name each, as "
         r"in 3=NAME, or 3=background for none"),
        (np.arange(12, dtype="uint8")[None], "1=a;2=b",
         r"holds the values 3, 4, 5, 6, 7 and 4 more without a name"),
        (np.array([[0.5, 1]], "float32"), None, "a.tif holds values that are not whole numbers"),
        (np.array([[np.nan, 1]], "float32"), "", "not whole numbers"),
        (np.array([[np.inf, 1]], "float32"), "", "not whole numbers"),
        (np.array([[1e300, 1]], "float64"), "", "not whole numbers"),
        (np.array([[2**64 - 1, 1]], "uint64"), "", "not whole numbers"),
        (np.array([[-3, 1]], "int16"), None, "a.tif numbers objects by -3; expected 0 for the"),
        (np.array([[-3, 1]], "int16"), "1=a", "holds the value -3 without a name"),
        (np.array([[[255, 0, 0], [0, 255, 0]]], "uint8"), None, "a.tif holds colours that do not"),
    ],
    ids=["value", "values", "half", "NaN", "inf", "large", "uint64", "negative", "-3", "colours"],
)  # fmt: skip
def test_values_that_are_no_labels(tmp_path, array, table, message):
    path = _write_labels(tmp_path / "a.tif", array)
    with pytest.raises(InputError, match=message):
        list(decode_labels(path, table=table))


def test_a_value_below_zero_with_a_name(tmp_path):
    path = _write_labels(tmp_path / "a.tif", np.array([[-3, 1]], "int16"))
    assert next(decode_labels(path, table="-3=a;1=b")).array.tolist() == [[-3, 1]]


def test_labels_of_a_scaled_volume(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image((LABELS * 85).astype("uint8")[..., None], np.eye(4))
    image.header.set_slope_inter(1 / 85, 0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    (found,) = decode_labels(tmp_path / "a.nii.gz", table="1=a;2=b;3=c")
    assert sorted(found.array.ravel()) == sorted(LABELS.ravel())


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.jpg", {}), ("a.webp", {"quality": 90}), ("png.png", {"format": "JPEG"})],
)
def test_labels_are_not_kept_with_loss(tmp_path, name, options):
    Image.fromarray((LABELS * 85).astype("uint8")).save(tmp_path / name, **options)
    with pytest.raises(InputError, match="is compressed with loss, which changes its values; save"):
        next(decode_labels(tmp_path / name))


def test_webp_without_loss_keeps_labels(tmp_path):
    Image.fromarray((LABELS * 85).astype("uint8")).save(tmp_path / "a.webp", lossless=True)
    np.testing.assert_array_equal(next(decode_labels(tmp_path / "a.webp")).array, LABELS * 85)
