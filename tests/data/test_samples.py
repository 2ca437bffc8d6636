import concurrent.futures
import logging
import warnings

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import Record, check_records, read_images, read_masks, read_samples
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
        (np.stack([GREY] * 3), MASK, None, r"holds 3 images and its mask .* 1; expected as many"),
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
    with pytest.raises(InputError, match="keep_empty=False without a scan"):
        check_records([good], keep_empty=False, scan=False)


def test_a_file_is_decoded_once_for_all_of_its_images(save, monkeypatch):
    masks = np.stack([MASK, 0 * MASK, MASK[::-1]])
    pages = np.stack([GREY, GREY // 2, GREY])
    record = _record(save(pages, "a.tif"), save(masks, "m.tif"))
    calls = []

    def read(record, *options):
        calls.append(record)
        return read_samples(record, *options)

    records, _ = check_records([record])
    assert [one.index for one in records] == [0, 1, 2]
    with monkeypatch.context() as patch:
        patch.setattr("keras_espmedsam.data.checking.labelled_images", read)
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
