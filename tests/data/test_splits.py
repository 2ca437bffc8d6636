import json
import unicodedata

import pytest

from keras_espmedsam.data import read_splits
from keras_espmedsam.errors import InputError

PUBLISHED = {
    "train": ["ultra_1.png", "ultra_2.png"],
    "valid": ["ultra_3.png"],
    "test": ["b (1).png"],
}


@pytest.fixture
def write(tmp_path):
    def write_splits(content, files=(), name="udiat_data_split.json"):
        for file in files:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write_splits


def _both(names, images="image_1024", masks="mask_1024"):
    return [f"{folder}/{name}" for name in names for folder in (images, masks)]


NAMES = [name for names in PUBLISHED.values() for name in names]


@pytest.mark.parametrize("at", ["", "datasets/"])
def test_the_published_layout(write, at):
    path = write(PUBLISHED, [at + name for name in _both(NAMES)])
    records = read_splits(path, "ultrasound")
    assert [(r.split, r.image.name) for r in records] == [
        ("train", "ultra_1.png"),
        ("train", "ultra_2.png"),
        ("val", "ultra_3.png"),
        ("test", "b (1).png"),
    ]
    assert {(r.modality, r.dataset) for r in records} == {("ultrasound", "udiat")}
    assert records[0].mask == path.parent / at / "mask_1024" / "ultra_1.png"
    assert [r.split for r in read_splits(path, "ultrasound", splits=["test"])] == ["test"]


def test_a_name_counts_up_to_its_first_point(write):
    """As in the published code: other types, and masks with a word behind the name."""
    path = write(
        {"train": ["ISIC_1.png", "ISIC_2.old.png"]},
        ["images/ISIC_1.jpg", "images/ISIC_2.tif", "masks/ISIC_1_segmentation.png"]
        + ["masks/ISIC_2.png", "masks/ISIC_3.png"],
    )
    assert [(r.image.name, r.mask.name) for r in read_splits(path, "dermoscopy")] == [
        ("ISIC_1.jpg", "ISIC_1_segmentation.png"),
        ("ISIC_2.tif", "ISIC_2.png"),
    ]


def test_pairs(write):
    pair = {"image": "scans/7.dcm", "mask": "labels/7.nii.gz", "group": 12, "dataset": "other"}
    content = {"training": [pair], "validation": [], "unseen": [{**pair, "modality": "ct"}]}
    del content["unseen"][0]["group"]
    content["unseen"][0]["image"] = "scans/8.dcm"
    path = write(content, ["scans/7.dcm", "scans/8.dcm", "labels/7.nii.gz"])
    first, second = read_splits(path, "mr")
    assert (first.split, first.modality, first.dataset, first.group) == (
        "train",
        "mr",
        "other",
        "12",
    )
    assert first.mask == path.parent / "labels" / "7.nii.gz"
    assert (second.split, second.modality, second.group) == ("unseen", "ct", "")


def test_folders_by_name(write, tmp_path):
    path = write({"train": ["1.png"]}, _both(["1.png"], "there/scans", "there/labels"))
    folders = dict(folder=tmp_path / "there", images="scans", masks="labels")
    assert read_splits(path, "xray", **folders)[0].image == tmp_path / "there" / "scans" / "1.png"
    with pytest.raises(
        InputError, match=r"image_1024 or .* which does not exist; give it as `imag"
    ):
        read_splits(path, "xray")
    with pytest.raises(
        InputError, match=r"need the folder .*none, which does not exist; .*`masks`"
    ):
        read_splits(path, "xray", **{**folders, "masks": "none"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"cannot be read as JSON \(JSONDecodeError\)"),
        ([1], "holds no list of images"),
        ({"name": "udiat", "train": []}, "holds no list of images"),
        ({"train": [3]}, "holds 3; expected names, or objects"),
        ({"train": [{"image": "1.png"}]}, r'holds {"image": "1.png"}; expected names'),
        ({"train": ["1.png", "2.png"]}, r"names 2.png, for which .*image_1024 has no file"),
        ({"train": ["3.png"]}, r"names 3.png, for which .*mask_1024 has no file, or several"),
        ({"train": ["1.png"], "test": ["1.png"]}, "has 1.png in the splits train and test"),
        ({"train": [{"image": "x.png", "mask": "y.png"}]}, r"do not exist: .*x.png, .*y.png"),
    ],
)
def test_files_that_cannot_be_used(write, content, message):
    path = write(content, [*_both(["1.png"]), "image_1024/3.png"])
    with pytest.raises(InputError, match=message):
        read_splits(path, "xray")


def test_missing_file_and_unknown_split(write, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_splits(tmp_path / "none.json", "xray")
    path = write(PUBLISHED, _both(NAMES))
    with pytest.raises(InputError, match=r"the split dev, which .* it has train, val, test"):
        read_splits(path, "ultrasound", splits=["dev"])


@pytest.mark.parametrize(("in_file", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_written_otherwise_than_on_disk(write, in_file, on_disk):
    names = [unicodedata.normalize(on_disk, name) for name in _both(["é.png"])]
    pair = {"image": "image_1024/é.png", "mask": "mask_1024/é.png"}
    for entry in ("é.png", pair):
        text = json.dumps({"train": [entry]}, ensure_ascii=False)
        path = write(unicodedata.normalize(in_file, text), names)
        (record,) = read_splits(path, "ultrasound")
        assert record.image.is_file() and record.mask.is_file()
