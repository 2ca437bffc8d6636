import concurrent.futures
import logging
import re
import warnings

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import (
    Record,
    TargetMask,
    Targets,
    check_records,
    read_images,
    read_masks,
    read_samples,
    read_targets,
)
from keras_espmedsam.data.samples import target_images
from keras_espmedsam.errors import InputError, InputWarning

GREY = np.arange(24, dtype=np.uint8).reshape(4, 6)
MASK = np.where(GREY > 11, 255, 0).astype("uint8")


@pytest.fixture
def save(tmp_path):
    def save_image(array, name, **options):
        pages = [Image.fromarray(page) for page in (array if array.ndim == 3 else [array])]
        more = dict(save_all=True, append_images=pages[1:]) if len(pages) > 1 else {}
        pages[0].save(tmp_path / name, **more, **options)
        return tmp_path / name

    return save_image


def _record(image, mask, **fields):
    return Record("train", "xray", "lungs", image, mask, **fields)


def test_pages_with_the_pages_of_the_mask(save):
    masks = np.stack([MASK, 0 * MASK, MASK[::-1]])
    record = _record(save(np.stack([GREY, GREY + 1, GREY + 2]), "a.tif"), save(masks, "m.tif"))
    samples = list(read_samples(record))
    assert [image.index for image, _ in samples] == [0, 1, 2]
    for k, (image, mask) in enumerate(samples):
        np.testing.assert_array_equal(image.array, GREY + k)
        np.testing.assert_array_equal(mask, masks[k] > 0)
    ((image, mask),) = read_samples(_record(record.image, record.mask, index=2))
    assert image.index == 2
    np.testing.assert_array_equal(mask, masks[2] > 0)


def test_what_is_foreground_is_decided_for_the_whole_file(save):
    """Slices with two values each are no masks when these are different labels."""
    path = save(np.stack([np.where(MASK, k, 0).astype("uint8") for k in (1, 2)]), "labels.tif")
    with pytest.raises(InputError, match="holds 3 different values up to 2"):
        list(read_masks(path))


def test_image_and_mask_are_turned_upright_together(save):
    """A photograph that lies on its side, its mask as stored: the model sees both upright.

    The mask's size fits what is stored alone; other cases are those of `test_pairing.py`.
    """
    exif = Image.Exif()
    exif[0x0112] = 6
    record = _record(save(GREY * 10, "a.png", exif=exif), save(MASK, "m.png"))
    with pytest.warns(InputWarning, match="is read as stored"):
        ((image, mask),) = read_samples(record)
    assert image.size == mask.shape == (6, 4)
    np.testing.assert_array_equal(mask, image.array > 110)


def test_without_a_mask(save):
    ((image, mask),) = read_samples(_record(save(GREY, "a.png"), None))
    assert mask is None
    np.testing.assert_array_equal(image.array, GREY)


@pytest.mark.parametrize(
    ("image", "mask", "index", "message"),
    [
        (GREY, MASK[:, :5], None, r"has 6 x 4 pixels and its mask .* 5 x 4; expected the same siz"),
        (np.stack([GREY] * 3), MASK, None, r"holds 3 images and its mask .* 1; expected the same"),
        (GREY, MASK, 1, r"Received the index 1 for .*, which holds 1 images; expected 0 to 0"),
    ],
)
def test_pairs_that_do_not_fit(save, image, mask, index, message):
    record = _record(save(image, "a.tif"), save(mask, "m.tif"), index=index)
    with pytest.raises(InputError, match=message):
        list(read_samples(record))
    # So much the headers say.
    with pytest.raises(InputError, match=message):
        check_records([record], scan=False)


@pytest.fixture
def some(save):
    """Good images, one of them of two pages, and bad ones of three kinds."""
    pages = _record(
        save(np.stack([GREY, GREY]), "p.tif"), save(np.stack([MASK, 0 * MASK]), "pm.tif")
    )
    good = _record(save(GREY, "a.png"), save(MASK, "m.png"))
    cut = save(np.random.default_rng(0).integers(0, 255, (64, 64), "uint8"), "cut.png")
    cut.write_bytes(cut.read_bytes()[:1500])
    bad = [
        _record(cut, save(np.full((64, 64), 255, "uint8"), "cm.png")),
        _record(good.image, save(GREY, "labels.png")),
        _record(good.image, good.mask.with_name("none.png")),
    ]
    return [good, bad[0], pages, *bad[1:]], [good, pages], bad


@pytest.mark.parametrize("workers", [1, 4])
def test_bad_files_are_left_out_with_their_reasons(some, workers):
    records, (good, pages), bad = some
    done = []
    usable, left_out = check_records(records, workers=workers, progress=done.append)
    assert usable == [
        good,
        *(Record(**{**vars(pages), "index": index}) for index in range(2)),
    ]
    assert [record for record, _ in left_out] == bad
    reasons = [reason for _, reason in left_out]
    assert "cut.png cannot be decoded" in reasons[0]
    assert "labels.png holds 24 different values" in reasons[1]
    assert "none.png does not exist" in reasons[2]
    assert sum(done) == len(records)


def test_strict_names_all_in_one_error(some):
    records, _, bad = some
    with pytest.raises(InputError) as caught:
        check_records(records, strict=True)
    message = str(caught.value)
    assert message.startswith("3 of 5 records cannot be used. ")
    assert all(name in message for name in ("cut.png", "labels.png", "none.png"))
    with pytest.raises(InputError, match=r"^7 of 7 .* And 2 more\.$"):
        check_records([bad[2]] * 7)


def test_headers_alone_tell_less(some):
    records, _, (_, _, missing) = some
    usable, left_out = check_records(records, scan=False)
    assert [record for record, _ in left_out] == [missing]
    assert [record.index for record in usable] == [None, None, 0, 1, None]


def test_empty_masks_are_kept_unless_not_wanted(some):
    _, (good, pages), _ = some
    assert [r.index for r in check_records([good, pages])[0]] == [None, 0, 1]
    assert [r.index for r in check_records([good, pages], keep_empty=False)[0]] == [None, 0]
    empty = _record(good.image, good.mask.with_name("empty.png"))
    Image.fromarray(0 * MASK).save(empty.mask)
    assert check_records([good, empty], keep_empty=False)[1] == [
        (empty, f"The mask {empty.mask} is empty.")
    ]
    with pytest.raises(InputError, match="keep_empty=False with scan=False"):
        check_records([good], keep_empty=False, scan=False)


def test_a_file_is_decoded_once_for_all_of_its_images(save, monkeypatch):
    masks = np.stack([MASK, 0 * MASK, MASK[::-1]])
    pages = np.stack([GREY, GREY // 2, GREY])
    record = _record(save(pages, "a.tif"), save(masks, "m.tif"))
    calls = []

    def read(record, *options):
        calls.append(record)
        return target_images(record, *options)

    records, _ = check_records([record])
    assert [one.index for one in records] == [0, 1, 2]
    with monkeypatch.context() as patch:
        patch.setattr("keras_espmedsam.data.checking.target_images", read)
        assert check_records(records) == (records, [])
        assert calls == [record]
    beyond = _record(record.image, record.mask, index=7)
    kept, left_out = check_records([*records[:2], beyond], keep_empty=False)
    assert kept == records[:1]
    assert [one for one, _ in left_out] == [records[1], beyond]


def test_no_records():
    with pytest.raises(InputError, match="Received no records"):
        check_records([])


def test_threads_leave_what_is_global_as_it_was(some):
    """Decoders are kept quiet by changing global state: the last thread restores it."""
    records, _, _ = some
    filters, level = list(warnings.filters), logging.getLogger("PIL").level
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda record: check_records([records[0], record]), records * 10):
            pass
    assert Image.MAX_IMAGE_PIXELS is not None
    assert warnings.filters == filters
    assert logging.getLogger("PIL").level == level
    assert len(list(read_images(records[0].image))) == 1


LABELS = np.arange(24, dtype="uint8").reshape(4, 6) // 6
TABLE = "1=lungs;2=lungs+heart;3=background"


def _of(image, *targets, **options):
    return Record("train", "xray", "set", image, targets=targets, **options)


def test_the_targets_of_a_label_image(save):
    path = save(LABELS, "labels.png")
    record = _of(
        save(GREY, "a.png"),
        TargetMask("lungs", path, value=(1, 2), table=TABLE),
        TargetMask("heart", path, value=2, table=TABLE),
    )
    ((image, found),) = read_targets(record)
    assert image.size == (4, 6) and list(found) == ["lungs", "heart"]
    np.testing.assert_array_equal(found["lungs"].mask, (LABELS == 1) | (LABELS == 2))
    np.testing.assert_array_equal(found["heart"].mask, LABELS == 2)
    assert found["heart"].mask.dtype == bool and found["heart"].instances is None
    # The same without a table, which only tells what other values may be there.
    bare = _of(record.image, TargetMask("heart", path, value=2))
    np.testing.assert_array_equal(next(read_targets(bare))[1]["heart"].mask, LABELS == 2)
    short = _of(record.image, TargetMask("heart", path, value=2, table="1=lungs;2=heart"))
    with pytest.raises(InputError, match=r"labels.png holds the value 3 without a name"):
        next(read_targets(short))


def test_the_background_may_have_a_name(save):
    path = save(LABELS, "labels.png")
    table = "0=disc+cup;1=disc;2=background;3=background"
    record = _of(
        save(GREY, "a.png"),
        TargetMask("disc", path, value=(0, 1), table=table),
        TargetMask("cup", path, value=0, table=table),
    )
    _, found = next(read_targets(record))
    np.testing.assert_array_equal(found["disc"].mask, LABELS < 2)
    np.testing.assert_array_equal(found["cup"].mask, LABELS == 0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32"])
def test_instances(save, tmp_path, dtype):
    numbers = np.zeros((4, 6), dtype)
    numbers[2:, :2], numbers[2:, 2:] = 7, 9 if dtype == "uint8" else 300
    path = tmp_path / "n.tif"
    Image.fromarray(numbers).save(path)
    record = _of(save(GREY, "a.png"), TargetMask("nuclei", save(MASK, "m.png"), instances=path))
    _, found = next(read_targets(record))
    np.testing.assert_array_equal(found["nuclei"].instances, numbers)
    np.testing.assert_array_equal(found["nuclei"].mask, MASK > 0)
    assert found["nuclei"].instances.dtype == "int32"
    alone = _of(record.image, TargetMask("nuclei", path, instances=path))
    _, found = next(read_targets(alone))
    np.testing.assert_array_equal(found["nuclei"].mask, numbers > 0)
    ((_, mask),) = read_samples(alone)
    np.testing.assert_array_equal(mask, numbers > 0)


def test_objects_and_masks_that_contradict_each_other_are_rejected(save):
    """Also before training, which leaves such a file out; a rim of one pixel is no matter."""
    mask = np.zeros((24, 24), "uint8")
    mask[2:10, 2:10] = mask[12:22, 12:22] = 255
    numbers = np.zeros((24, 24), "uint8")
    numbers[3:9, 3:9], numbers[12:23, 12:21] = 1, 2
    image, path = save(np.zeros((24, 24), "uint8"), "a.png"), save(mask, "m.png")

    def record(objects, name="n.png"):
        return _of(image, TargetMask("nuclei", path, instances=save(objects, name)))

    good = record(numbers)
    ((_, found),) = read_targets(good)
    np.testing.assert_array_equal(found["nuclei"].instances, numbers)
    beyond, fewer = numbers.copy(), numbers.copy()
    beyond[3:6, 14:18] = 3  # 12 of 147 pixels.
    fewer[fewer == 1] = 0  # 64 of 164, of which none is beside what is left.
    for bad, said in (
        (
            beyond,
            r"8.16 % of the objects in .*bad.png is outside of the mask .*m.png; exp",
        ),
        (
            fewer,
            r"39 % of the mask .*m.png has no object in .*bad.png; expected a number for",
        ),
    ):
        with pytest.raises(InputError, match=said):
            next(read_targets(record(bad, "bad.png")))
        kept, left_out = check_records([good, record(bad, "bad.png")])
        assert kept == [good] and re.search(said, left_out[0][1])
        # Unless the objects are not used.
        assert next(read_samples(record(bad, "bad.png")))[1].sum() == 164


def test_numbers_of_objects_beyond_32_bits_are_given_anew(save, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "n.tif", np.array([[0, 2**40, 7, 2**40]], "int64"))
    image = save(GREY[:1, :4], "a.png")
    path = tmp_path / "n.tif"
    _, found = next(read_targets(_of(image, TargetMask("nuclei", path, instances=path))))
    assert found["nuclei"].instances.tolist() == [[0, 2, 1, 2]]


def test_a_mask_alone_is_of_the_first_target(some_pair):
    record, mask = some_pair
    _, found = next(read_targets(record))
    assert list(found) == [""]
    np.testing.assert_array_equal(found[""].mask, mask)
    assert next(read_targets(record.without_masks()))[1] == {}


@pytest.fixture
def some_pair(save):
    return _record(save(GREY, "a.png"), save(MASK, "m.png")), MASK > 0


def test_one_target_of_several(save):
    record = _of(
        save(GREY, "a.png"),
        TargetMask("lungs", save(MASK, "l.png")),
        TargetMask("heart", save(MASK[::-1].copy(), "h.png")),
    )
    ((_, mask),) = read_samples(record, target="heart")
    np.testing.assert_array_equal(mask, MASK[::-1] > 0)
    with pytest.raises(InputError, match=r"a.png, which has the targets lungs, heart, to read one"):
        next(read_samples(record))
    with pytest.raises(InputError, match="to read the target 'liver' of them; choose one of its"):
        next(read_samples(record, target="liver"))
    with pytest.raises(InputError, match="which has masks without targets' names, to read the"):
        next(read_samples(_record(record.image, record.mask), target="heart"))


def test_files_of_targets_fit_their_image(save):
    small = save(MASK[:3], "small.png")
    fits = save(MASK, "m.png")
    for target in (
        TargetMask("heart", small),
        TargetMask("heart", small, value=1),
        TargetMask("heart", fits, instances=small),
        TargetMask("heart", fits, other_masks=(small,)),
    ):
        record = _of(save(GREY, "a.png"), TargetMask("lungs", fits), target)
        with pytest.raises(
            InputError, match=r"a.png has 6 x 4 pixels and its mask .*small.png 6 x"
        ):
            next(read_targets(record))
        for scan in (True, False):
            with pytest.raises(InputError, match=r"1 of 1 records .*small.png 6 x 3; expected"):
                check_records([record], scan=scan)


def test_pages_with_targets(save):
    pages = np.stack([GREY, GREY // 2])
    numbers = np.stack([LABELS, LABELS[::-1]])
    record = _of(
        save(pages, "a.tif"),
        TargetMask("lungs", save(np.stack([MASK, 0 * MASK]), "m.tif")),
        TargetMask("heart", save(numbers, "n.tif"), value=3),
    )
    kept, _ = check_records([record])
    assert [one.index for one in kept] == [0, 1]
    for one, labels in zip(kept, numbers, strict=True):
        ((image, found),) = read_targets(one)
        assert image.index == one.index
        np.testing.assert_array_equal(found["heart"].mask, labels == 3)
        assert found["lungs"].mask.any() == (one.index == 0)


def test_turned_files_of_targets(save):
    """A mask with an orientation of its own is turned by it, whatever kind it is."""
    exif = Image.Exif()
    exif[0x0112] = 6
    record = _of(
        save(GREY, "a.jpg", exif=exif),
        TargetMask("lungs", save(MASK, "m.png", exif=exif)),
        TargetMask("heart", save(LABELS, "l.png", exif=exif), value=2),
        TargetMask("ribs", save(np.rot90(MASK, -1).copy(), "r.png")),
    )
    ((image, found),) = read_targets(record)
    assert image.size == (6, 4)
    np.testing.assert_array_equal(found["lungs"].mask, np.rot90(MASK, -1) > 0)
    np.testing.assert_array_equal(found["heart"].mask, np.rot90(LABELS, -1) == 2)
    np.testing.assert_array_equal(found["ribs"].mask, found["lungs"].mask)


def test_empty_masks_of_targets(save):
    empty, full = save(0 * MASK, "e.png"), save(MASK, "m.png")
    one = _of(save(GREY, "a.png"), TargetMask("lungs", empty), TargetMask("heart", full))
    none = _of(one.image, TargetMask("lungs", empty), TargetMask("heart", empty))
    kept, left_out = check_records([one, none], keep_empty=False)
    assert kept == [one]
    assert [reason for _, reason in left_out] == [f"The masks of {none.image} are all empty."]


def test_what_contradicts_a_models_targets_is_left_out(save):
    targets = Targets({"xray": ("lungs", "heart")}, nested={"xray": {"heart": "lungs"}})
    inner = np.zeros_like(MASK)
    inner[2, 1] = 255
    good = _of(
        save(GREY, "a.png"),
        TargetMask("lungs", save(MASK, "m.png")),
        TargetMask("heart", save(inner, "i.png")),
    )
    bad = _of(good.image, good.targets[0], TargetMask("heart", save(MASK[::-1].copy(), "o.png")))
    kept, left_out = check_records([good, bad], targets=targets)
    assert kept == [good] and "of heart in " in left_out[0][1]
    assert check_records([good, bad])[1] == []
    with pytest.raises(InputError, match=r"1 of 2 records cannot be used. 100 % of heart in"):
        check_records([good, bad], strict=True, targets=targets)
    with pytest.raises(InputError, match="target 'heart' of xray"):
        check_records([good], targets=Targets({"xray": ("lungs",)}))


def test_a_volume_of_labels_is_turned_like_its_image(tmp_path):
    """Whatever the order of its axes; NIfTI's own is another than that of what is shown."""
    nibabel = pytest.importorskip("nibabel")
    labels = np.arange(60, dtype="uint8").reshape(5, 4, 3) % 4
    for affine in (np.eye(4), np.diag([-1, -1, 1, 1.0]), np.eye(4)[[1, 0, 2, 3]]):
        nibabel.save(nibabel.Nifti1Image(labels * 60, affine), tmp_path / "a.nii.gz")
        nibabel.save(nibabel.Nifti1Image(labels, affine), tmp_path / "l.nii.gz")
        path = tmp_path / "l.nii.gz"
        record = _of(
            tmp_path / "a.nii.gz",
            TargetMask("lungs", path, value=2),
            TargetMask("all", path, value=(1, 2, 3), instances=path),
        )
        for image, found in read_targets(record):
            np.testing.assert_array_equal(image.array > 0, found["all"].mask)
            np.testing.assert_array_equal(found["all"].instances == 2, found["lungs"].mask)
