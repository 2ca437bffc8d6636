import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import read_folder, read_samples
from keras_espmedsam.errors import InputError, InputWarning


@pytest.fixture
def make(tmp_path):
    def make_files(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make_files


def _pairs(records):
    return [(r.image.name, r.mask and r.mask.name) for r in records]


def test_images_and_masks_of_the_same_name(make):
    folder = make("images/b.jpg", "images/a.nii.gz", "masks/a.nii.gz", "masks/b.png")
    make("images/.hidden.png", "images/notes.txt", "masks/Thumbs.db")
    records = read_folder(folder, "xray")
    assert _pairs(records) == [("a.nii.gz", "a.nii.gz"), ("b.jpg", "b.png")]
    assert {(r.modality, r.dataset, r.split, r.group) for r in records} == {
        ("xray", folder.name, "train", "")
    }
    assert read_folder(folder, "xray", dataset="mine", split="test")[0].dataset == "mine"


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("ISIC_7.jpg", "ISIC_7_segmentation.png"),
        ("000_HC.png", "000_HC_Annotation.png"),
        ("7.tif", "7.mask.tif"),
        ("benign (1).png", "benign (1) mask.png"),
        ("7_mask.png", "7_mask.png"),
        ("7.dcm", "7-seg.nii.gz"),
    ],
)
def test_a_word_behind_the_name(make, image, mask):
    assert _pairs(read_folder(make(f"images/{image}", f"masks/{mask}"), "xray")) == [(image, mask)]


def test_a_folder_per_split(make):
    folder = make(*(f"{s}/{k}/{s}.png" for s in ("val", "train") for k in ("images", "masks")))
    assert [(r.split, r.image.name) for r in read_folder(folder, "xray")] == [
        ("train", "train.png"),
        ("val", "val.png"),
    ]


def test_masks_elsewhere_or_beside(make):
    folder = make("scans/1.png", "scans/2.png", "labels/1.png", "labels/2_gt.png")
    records = read_folder(folder / "scans", "xray", masks=folder / "labels")
    assert _pairs(records) == [("1.png", "1.png"), ("2.png", "2_gt.png")]
    mixed = make("mixed/1.png", "mixed/1_mask.png") / "mixed"
    assert _pairs(read_folder(mixed, "xray", masks=mixed)) == [("1.png", "1_mask.png")]


def test_without_masks(make):
    folder = make("cats/1.jpg", "dogs/small/2.png", "readme.md")
    records = read_folder(folder, labelled=False)
    assert _pairs(records) == [("1.jpg", None), ("2.png", None)]
    assert {r.modality for r in records} == {""}
    assert _pairs(read_folder(make("images/3.png"), labelled=False)) == [("3.png", None)]


def test_groups_from_names(make):
    names = ("p1_left", "p1_right", "p2_left")
    folder = make(*(f"{kind}/{name}.png" for name in names for kind in ("images", "masks")))
    assert [r.group for r in read_folder(folder, "xray", group=r"^(p\d)_")] == ["p1", "p1", "p2"]
    assert [r.group for r in read_folder(folder, "xray", group=r"p\d")] == ["p1", "p1", "p2"]
    with pytest.raises(InputError, match=r"p2_left.png does not match the group 'right"):
        read_folder(folder, "xray", group="right|p1")
    with pytest.raises(InputError, match="no regular expression"):
        read_folder(folder, "xray", group="(p")


def test_files_without_partner_are_named_in_one_sentence(make):
    folder = make("images/1.png", "images/2.png", "images/3.png", "masks/3.png", "masks/4.png")
    with pytest.raises(InputError) as caught:
        read_folder(folder, "xray")
    assert str(caught.value).endswith(
        "holds 2 images without a mask (1.png, 2.png) and 1 mask without an image (4.png); "
        "expected one mask for each image, with the image's name or that name and a word "
        "such as _mask behind it."
    )


def test_partners_that_are_not_clear(make):
    folder = make("images/1.png", "masks/1.png", "masks/1_mask.png")
    with pytest.raises(InputError, match=r"several masks of one image \(1.png, 1_mask.png\)"):
        read_folder(folder, "xray")
    make("images/1.jpg")
    (folder / "masks" / "1_mask.png").unlink()
    with pytest.raises(InputError, match=r"differ in their suffix alone \(1.jpg, 1.png\)"):
        read_folder(folder, "xray")


def test_folders_that_cannot_be_used(make):
    folder = make("a/1.png")
    with pytest.raises(InputError, match="none does not exist"):
        read_folder(folder / "none", "xray")
    with pytest.raises(InputError, match="lacks a folder named images; expected images and masks"):
        read_folder(folder, "xray")
    with pytest.raises(InputError, match="no modality for the labelled images"):
        read_folder(folder)
    with pytest.raises(InputError, match=r"masks .*none does not exist"):
        read_folder(folder, "xray", masks=folder / "none")
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image files"):
        read_folder(folder / "empty", labelled=False)
    make("images/1.png")
    with pytest.raises(InputError, match=r"lacks .*/masks; expected"):
        read_folder(folder, "xray")


@pytest.mark.parametrize(
    "masks",
    [
        ["benign (1)_mask.png", "benign (1)_mask_1.png", "benign (1)_mask_2.png"],
        ["benign (1)_mask1.png", "benign (1)_mask2.png"],
        ["benign (1)_seg-01.png", "benign (1)_seg0.png"],
        ["benign (1) mask (1).png", "benign (1) mask (2).png"],
        ["benign (1).png", "benign (1)_label_7.png"],
        ["benign (1)/a.png", "benign (1)/b.png"],
    ],
)
def test_several_masks_of_one_image(make, masks):
    folder = make("images/benign (1).png", *(f"masks/{name}" for name in masks))
    with pytest.raises(InputError) as caught:
        read_folder(folder, "ultrasound")
    names = [Path(name).name for name in masks]
    assert str(caught.value).endswith(
        f"holds several masks of one image ({', '.join(names)}); expected one mask for each image, "
        "with the image's name or that name and a word such as _mask behind it. Where all masks "
        "of an image show the same kind of object, give merge_masks=True (merge_masks: true in a "
        "configuration) to take them together; otherwise keep one."
    )
    (record,) = read_folder(folder, "ultrasound", merge_masks=True)
    assert [record.mask.name, *(path.name for path in record.other_masks)] == names


def test_masks_beside_their_images_with_numbers(make):
    """As BUSI comes; a number behind a word is a mask's only if the image is there."""
    folder = make(
        "1.png", "1_mask.png", "1_mask_1.png", "scan label 3.png", "scan label 3_mask.png"
    )
    records = read_folder(folder, "ultrasound", masks=folder, merge_masks=True)
    assert _pairs(records) == [
        ("1.png", "1_mask.png"),
        ("scan label 3.png", "scan label 3_mask.png"),
    ]
    assert [len(record.other_masks) for record in records] == [1, 0]


def test_a_folder_per_image(make):
    """As DSB 2018 comes: `7/images/7.png` and `7/masks/*.png`, which is no split."""
    folder = make("7/images/7.png", "7/masks/a1.png", "7/masks/b2.png", "8/images/8.png")
    make("8/masks/c3.png")
    with pytest.raises(InputError, match=r"several masks of one image \(a1.png, b2.png\)"):
        read_folder(folder, "microscopy")
    records = read_folder(folder, "microscopy", merge_masks=True, split="val")
    assert [(r.split, r.image.name, r.mask.name, len(r.other_masks)) for r in records] == [
        ("val", "7.png", "a1.png", 1),
        ("val", "8.png", "c3.png", 0),
    ]


@pytest.mark.parametrize(("image_form", "mask_form"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_are_written_in_either_form(make, image_form, mask_form):
    """macOS decomposes the letters of file names; the files of others come composed."""
    image = unicodedata.normalize(image_form, "Müller é.png")
    mask = unicodedata.normalize(mask_form, "Müller é_mask.png")
    assert image != unicodedata.normalize(mask_form, image)
    assert _pairs(read_folder(make(f"images/{image}", f"masks/{mask}"), "xray")) == [(image, mask)]


def test_masks_are_taken_together_when_read(tmp_path):
    shown = {
        "images/1.png": [[9, 9, 9]],
        "masks/1_mask.png": [[255, 0, 0]],
        "masks/1_mask_1.png": [[0, 0, 1]],
    }
    for name, values in shown.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.array(values, "uint8")).save(tmp_path / name)
    ((_, mask),) = read_samples(read_folder(tmp_path, "xray", merge_masks=True)[0])
    assert mask.tolist() == [[True, False, True]]


def test_what_is_left_out_of_a_folder_is_told(tmp_path):
    for name in ("images/a.png", "masks/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4), 255).save(tmp_path / name)
    (tmp_path / "images/phone.heic").write_bytes(bytes((0, 0, 0, 24)) + b"ftypheic" + bytes(50))
    with pytest.warns(InputWarning, match=r"Left out 1 file of .*images .*\(phone.heic: HEIC\)"):
        records = read_folder(tmp_path, "xray")
    assert [record.image.name for record in records] == ["a.png"]


def test_images_are_known_by_their_content(tmp_path):
    for name in ("images/1.2.840.17", "masks/1.2.840.17_mask.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4), 255).save(tmp_path / name, format="PNG")
    (record,) = read_folder(tmp_path, "xray")
    assert (record.image.name, record.mask.name) == ("1.2.840.17", "1.2.840.17_mask.png")
