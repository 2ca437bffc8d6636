import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import read_folder, read_samples, read_targets
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
    with pytest.raises(InputError, match="not a regular expression"):
        read_folder(folder, "xray", group="(p")


def test_files_without_partner_are_named_in_one_sentence(make):
    folder = make("images/1.png", "images/2.png", "images/3.png", "masks/3.png", "masks/4.png")
    with pytest.raises(InputError) as caught:
        read_folder(folder, "xray")
    assert str(caught.value).endswith(
        "holds 2 images without a mask (1.png, 2.png) and 1 mask without an image (4.png); "
        "expected one mask for each image, with the image's name, or that name followed by a "
        "word such as _mask."
    )


def test_partners_that_are_not_clear(make):
    folder = make("images/1.png", "masks/1.png", "masks/1_mask.png")
    with pytest.raises(InputError, match=r"several masks of one image \(1.png, 1_mask.png\)"):
        read_folder(folder, "xray")
    make("images/1.jpg")
    (folder / "masks" / "1_mask.png").unlink()
    with pytest.raises(InputError, match=r"differ only in their suffix \(1.jpg, 1.png\)"):
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
        "with the image's name, or that name followed by a word such as _mask. If all masks of "
        "an image show the same kind of object, give merge_masks=True (merge_masks: true in a "
        "configuration) to combine them; otherwise keep one."
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
    with pytest.warns(InputWarning, match=r"Skipped 1 file of .*images .*\(phone.heic: HEIC\)"):
        records = read_folder(tmp_path, "xray")
    assert [record.image.name for record in records] == ["a.png"]


def test_images_are_known_by_their_content(tmp_path):
    for name in ("images/1.2.840.17", "masks/1.2.840.17_mask.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4), 255).save(tmp_path / name, format="PNG")
    (record,) = read_folder(tmp_path, "xray")
    assert (record.image.name, record.mask.name) == ("1.2.840.17", "1.2.840.17_mask.png")


def _targets(records):
    return [
        {one.target: "/".join(one.mask.parts[-2:]) for one in record.targets} for record in records
    ]


EYES = ("images/1.png", "images/2.png", "masks/vessels/1.png", "masks/optic_disc/2_mask.png")


def test_a_folder_per_target(make):
    folder = make(*EYES, "masks/vessels/2.png")
    expected = [
        {"vessels": "vessels/1.png"},
        {"optic_disc": "optic_disc/2_mask.png", "vessels": "vessels/2.png"},
    ]
    assert _targets(read_folder(folder, "fundus")) == expected
    assert _targets(read_folder(folder, "fundus", targets=["vessels", "optic_disc"])) == expected
    only = read_folder(folder, "fundus", targets={"fundus": ["vessels"]})
    assert _targets(only) == [{"vessels": "vessels/1.png"}, {"vessels": "vessels/2.png"}]
    assert read_folder(folder, labelled=False)[0].targets == ()


def test_a_folder_per_target_in_a_folder_per_split(make):
    folder = make(*(f"{split}/{name}" for split in ("train", "val") for name in EYES))
    records = read_folder(folder, "fundus")
    assert [(r.split, one.target) for r in records for one in r.targets] == [
        ("train", "vessels"),
        ("train", "optic_disc"),
        ("val", "vessels"),
        ("val", "optic_disc"),
    ]


def test_folders_of_targets_elsewhere(make):
    folder = make("scans/1.png", "labels/heart/1.png", "labels/lungs/1.png")
    records = read_folder(folder / "scans", "xray", masks=folder / "labels")
    assert _targets(records) == [{"heart": "heart/1.png", "lungs": "lungs/1.png"}]


def test_folders_that_are_not_targets_unasked(make):
    """Beside masks, a folder is something else; one with an image's name holds its objects."""
    folder = make("images/1.png", "masks/1.png", "masks/old/1.png")
    (record,) = read_folder(folder, "xray")
    assert (record.targets, record.mask.parent.name) == ((), "masks")
    assert _targets(read_folder(folder, "xray", targets=["old"])) == [{"old": "old/1.png"}]
    folder = make("b/images/7.png", "b/masks/7/a.png", "b/masks/7/c.png") / "b"
    (record,) = read_folder(folder, "xray", merge_masks=True)
    assert (record.targets, len(record.other_masks)) == ((), 1)
    folder = make("c/images/7.png", "c/masks/train/7.png") / "c"
    with pytest.raises(InputError, match=r"holds 1 image without a mask \(7.png\)"):
        read_folder(folder, "xray")


def test_several_masks_of_a_target(make):
    folder = make("images/7.png", "masks/nuclei/7_mask_1.png", "masks/nuclei/7_mask_2.png")
    make("masks/glands/7/a.png", "masks/glands/7/b.png")
    with pytest.raises(InputError, match=r"glands holds several masks of one image \(a.png, b"):
        read_folder(folder, "microscopy")
    (record,) = read_folder(folder, "microscopy", merge_masks=True)
    assert [(one.target, len(one.mask_files)) for one in record.targets] == [
        ("glands", 2),
        ("nuclei", 2),
    ]


def test_label_images_and_a_named_target(make):
    folder = make("images/1.png", "masks/1.png")
    (record,) = read_folder(folder, "xray", labels={1: "lungs", 2: "heart"})
    assert [(one.target, one.values) for one in record.targets] == [
        ("lungs", (1,)),
        ("heart", (2,)),
    ]
    (record,) = read_folder(folder, "xray", labels={1: "lungs", 2: "heart"}, targets=["heart"])
    assert [one.target for one in record.targets] == ["heart"]
    (record,) = read_folder(folder, "xray", target="heart")
    assert _targets([record]) == [{"heart": "masks/1.png"}]
    (record,) = read_folder(folder, "xray", target={"fundus": "heart"})
    assert record.targets == ()


def test_instances(make):
    folder = make("images/1.png", "images/2.png", "masks/1.png", "masks/2.png", "objects/2.tif")
    for instances in (folder / "objects", "objects"):
        first, second = read_folder(folder, "microscopy", instances=instances)
        assert first.targets == ()
        assert [(o.target, o.mask.name, o.instances.name) for o in second.targets] == [
            ("", "2.png", "2.tif")
        ]
    named = read_folder(folder, "microscopy", target="nuclei", instances="objects")
    assert [[one.target for one in record.targets] for record in named] == [["nuclei"]] * 2
    folder = make("b/images/1.png", "b/masks/n/1.png", "b/masks/g/1.png", "b/objects/n/1.png") / "b"
    (record,) = read_folder(folder, "microscopy", instances="objects")
    assert [(one.target, one.instances is None) for one in record.targets] == [
        ("g", True),
        ("n", False),
    ]
    folder = make("c/images/1.png", "c/objects/1.png") / "c"
    (record,) = read_folder(folder, "microscopy", instances="objects")
    assert record.targets[0].mask == record.targets[0].instances


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        (EYES, {"targets": ["vessels"]}, r"holds no mask of 1 image \(2.png\) for any of the tar"),
        ((*EYES, "masks/vessels/9.png"), {}, r"vessels holds 1 mask without an image \(9.png\)"),
        (EYES, {"targets": ["lungs"]}, "has no folder lungs for .*; it has optic_disc, vessels"),
        (EYES[:3], {"targets": []}, r"Received targets=\[\]"),
        ((*EYES, "masks/optic cup/1.png"), {}, "target 'optic cup' for the folder"),
        (EYES, {"target": "a b"}, "target 'a b'; expected a name of letters"),
        (EYES, {"targets": {"fundu": "a"}}, "targets of the modality 'fundu', .*; did you mean"),
        (EYES, {"labels": {1: "a b"}}, "Received labels={1: 'a b'}"),
        (EYES, {"instances": "none"}, "The folder of instances none does not exist"),
        (("images/1.png", "masks/1.png", "o/9.png"), {"instances": "o"},
         r"holds 1 file of instances without an image \(9.png\)"),
        (("images/1.png", "masks/1.png", "o/1.png", "o/1.tif"), {"instances": "o"},
         r"holds 2 files of instances that share an image \(1.png, 1.tif\)"),
        (("images/1.png", "masks/1_mask_1.png", "masks/1_mask_2.png"),
         {"labels": {1: "a"}, "merge_masks": True}, r"1.png has 2 label images \(1_mask_1.png, 1_"),
    ],
)  # fmt: skip
def test_folders_of_targets_that_cannot_be_used(make, files, options, message):
    with pytest.raises(InputError, match=message):
        read_folder(make(*files), "fundus", **options)


def test_a_mask_for_each_object(tmp_path):
    """As DSB 2018 comes; a pixel in two of them belongs to the later."""
    shown = {
        "7/images/7.png": [[9, 9, 9, 9]],
        "7/masks/a.png": [[255, 255, 0, 0]],
        "7/masks/b.png": [[0, 255, 0, 255]],
        "8/images/8.png": [[9]],
        "8/masks/c.png": [[255]],
    }
    for name, values in shown.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array(values, "uint8")).save(tmp_path / name)
    records = read_folder(tmp_path, "microscopy", merge_masks="objects")
    found = [next(read_targets(record))[1][""] for record in records]
    assert found[0].mask.tolist() == [[True, True, False, True]]
    assert found[0].instances.tolist() == [[1, 2, 0, 2]]
    assert found[1].instances.tolist() == [[1]]
    named = read_folder(tmp_path, "microscopy", merge_masks="objects", target="nuclei")
    assert list(next(read_targets(named[0]))[1]) == ["nuclei"]
    with pytest.raises(InputError, match="merge_masks='all'; expected True, False or 'objects'"):
        read_folder(tmp_path, "microscopy", merge_masks="all")


def test_targets_behind_the_names(make):
    """As the command `segment` writes them, and as many sets come."""
    folder = make("images/7.png", "images/8_eye.png", "masks/7_vessels_mask.png")
    make("masks/7_optic_disc.png", "masks/8_eye-vessels.png", "masks/7_fovea.png")
    both = ["vessels", "optic_disc"]
    assert _targets(read_folder(folder, "fundus", targets=both)) == [
        {"vessels": "masks/7_vessels_mask.png", "optic_disc": "masks/7_optic_disc.png"},
        {"vessels": "masks/8_eye-vessels.png"},
    ]
    with pytest.raises(InputError, match=r"holds no mask of 1 image \(8_eye.png\) for any of the"):
        read_folder(folder, "fundus", targets=["optic_disc"])
    with pytest.raises(InputError, match=r"4 masks without an image \(7_fovea.png, 7_optic"):
        read_folder(folder, "fundus")
    make("masks/7-vessels.png")
    with pytest.raises(
        InputError, match=r"several masks of one image \(7-vessels.png, 7_vessels_m"
    ):
        read_folder(folder, "fundus", targets=["vessels"])
    folder = make("b/images/7.png", "b/masks/7_n.png", "b/masks/7_g.png", "b/objects/7_n.png") / "b"
    (record,) = read_folder(folder, "microscopy", targets=["n", "g"], instances="objects")
    assert [(one.target, one.has_instances) for one in record.targets] == [
        ("n", True),
        ("g", False),
    ]


def test_instances_of_folders_of_targets(make):
    folder = make("images/7.png", "masks/n/7.png", "objects/7.png")
    (record,) = read_folder(folder, "microscopy", instances="objects")
    assert [(one.target, one.has_instances) for one in record.targets] == [("n", True)]
    make("masks/g/7.png")
    with pytest.raises(InputError, match=r"objects holds none for the images of .*; expected"):
        read_folder(folder, "microscopy", instances="objects")
