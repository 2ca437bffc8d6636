import json
import unicodedata

import pytest

from keras_espmedsam.data import read_splits
from keras_espmedsam.data.split_entries import KEYS
from keras_espmedsam.errors import InputError, InputWarning

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
        ({"train": ["1.png"], "valid": [3]}, "Received 3 as entry 1 of valid in .*json; expected"),
        ({"train": [""]}, 'Received "" as entry 1 of train'),
        (
            {"train": ["1.png", {"image": "1.png"}]},
            "Received no mask in entry 2 of train in .*;",
        ),
        (
            {"train": [{"mask": "1.png"}]},
            "Received no image in entry 1 of train in .*; exp",
        ),
        (
            {"train": [{"image": "1.png", "mask_": "1.png"}]},
            "no mask in entry 1 of train in .*, which has the unknown key 'mask_'; .* mean mask",
        ),
        ({"train": ["1.png", "2.png"]}, r"names 2.png, but .*image_1024 has no such file"),
        ({"train": ["3.png"]}, r"names 3.png, but .*mask_1024 has no such file, or several"),
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


EYE = {"image": "images/1.png"}
FILES = ["images/1.png", "images/2.png", "a.png", "b.png", "n.png"]


def _of(record):
    return [(one.target, one.mask.name, one.values) for one in record.targets]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            {"masks": {"vessels": "a.png", "optic_disc": "b.png"}},
            [("vessels", "a.png", None), ("optic_disc", "b.png", None)],
        ),
        ({"mask": "a.png", "target": "vessels"}, [("vessels", "a.png", None)]),
        (
            {"mask": "a.png", "labels": {"1": "lungs", "2": ["lungs", "heart"]}},
            [("lungs", "a.png", (1, 2)), ("heart", "a.png", (2,))],
        ),
        ({"mask": "a.png", "labels": "7=heart"}, [("heart", "a.png", (7,))]),
        ({"mask": "a.png"}, []),
    ],
    ids=["masks", "target", "labels", "text", "mask"],
)
def test_entries_of_targets(write, entry, expected):
    (record,) = read_splits(write({"train": [{**EYE, **entry}]}, FILES), "fundus")
    assert _of(record) == expected
    assert record.mask.name == "a.png"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"masks": {"nuclei": "a.png", "glands": "b.png"}, "instances": {"nuclei": "n.png"}},
         [("nuclei", "a.png", "n.png"), ("glands", "b.png", None)]),
        ({"masks": {"glands": "b.png"}, "instances": {"nuclei": "n.png"}},
         [("glands", "b.png", None), ("nuclei", "n.png", "n.png")]),
        ({"mask": "a.png", "instances": "n.png"}, [("", "a.png", "n.png")]),
        ({"mask": "a.png", "instances": {"nuclei": "n.png"}}, [("nuclei", "a.png", "n.png")]),
        ({"target": "nuclei", "instances": "n.png"}, [("nuclei", "n.png", "n.png")]),
        ({"instances": {"nuclei": "n.png", "glands": "b.png"}, "mask": None},
         [("nuclei", "n.png", "n.png"), ("glands", "b.png", "b.png")]),
    ],
)  # fmt: skip
def test_entries_with_instances(write, entry, expected):
    (record,) = read_splits(write({"train": [{**EYE, **entry}]}, FILES), "microscopy")
    found = [(o.target, o.mask.name, o.instances and o.instances.name) for o in record.targets]
    assert found == expected


def test_entries_of_one_image_are_one_record(write):
    entries = [
        {**EYE, "mask": "a.png", "target": "vessels"},
        {**EYE, "mask": "b.png", "target": "optic_disc"},
    ]
    (record,) = read_splits(write({"train": entries}, FILES), "fundus")
    assert [one.target for one in record.targets] == ["vessels", "optic_disc"]
    (record,) = read_splits(write({"train": entries}, FILES), "fundus", targets="optic_disc")
    assert record.mask.name == "b.png"
    path = write({"train": [entries[0], entries[0]]}, FILES)
    with pytest.raises(InputError, match=r"has a mask in entry 1 of train in .* and in entry 2 of"):
        read_splits(path, "fundus")
    with pytest.raises(InputError, match=r"has the split train in entry 1 of train .* and val in"):
        read_splits(write({"train": entries[:1], "val": entries[1:]}, FILES), "fundus")


def test_what_names_the_rest(write):
    path = write({"train": [{**EYE, "mask": "a.png"}]}, FILES)
    with pytest.raises(InputError, match=r"the modality 'fundu', which .*json does not have; did"):
        read_splits(path, "fundus", targets={"fundu": "vessels"})
    assert _of(read_splits(path, "fundus", target="vessels")[0]) == [("vessels", "a.png", None)]
    assert _of(read_splits(path, "fundus", labels={3: "heart"})[0]) == [("heart", "a.png", (3,))]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"masks": {}}, "masks={} in entry 1 of train in .*; expected an object of target to path"),
        ({"masks": {"vessels": ""}}, "masks={'vessels': ''} in entry 1"),
        ({"masks": ["a.png"]}, r"masks=\['a.png'\] in entry 1"),
        ({"mask": 3}, "Received mask=3 in entry 1 of train in .*; expected a path"),
        ({"mask": "a.png", "target": 3}, "Received target=3 in entry 1 of train in .*a name, such"),
        ({"mask": "a.png", "target": ""}, "Received target='' in entry 1"),
        ({"mask": "a.png", "modality": ["ct"]}, r"Received modality=\['ct'\] in entry 1"),
        ({"mask": "a.png", "group": {}}, "Received group={} in entry 1 .*; expected the name"),
        ({"mask": "a.png", "instances": 3}, "instances=3 in entry 1 .*; expected a path, or"),
        ({"masks": {"v": "a.png"}, "mask": "a.png"}, "masks and mask in entry 1 of train in"),
        ({"masks": {"v": "a.png"}, "target": "v"}, "masks and target in entry 1"),
        ({"masks": {"v": "a.png", "w": "b.png"}, "instances": "n.png"},
         "instances='n.png' for several masks in entry 1"),
        ({"mask": "a.png", "target": "v", "instances": {"w": "n.png"}},
         "instances of w in entry 1 .* those of its only mask"),
        ({"masks": {"optic disc": "a.png"}}, "the target 'optic disc' in entry 1 of train"),
        ({"mask": "a.png", "labels": {"x": "v"}}, "'x' is no whole number"),
        ({"mask": "a.png", "labels": [1]}, r"Received labels=\[1\] in entry 1"),
        ({"masks": {"v": "none.png"}}, "do not exist: .*none.png"),
    ],
)  # fmt: skip
def test_entries_that_cannot_be_used(write, entry, message):
    with pytest.raises(InputError, match=message):
        read_splits(write({"train": [{**EYE, **entry}]}, FILES), "fundus")


def test_keys_that_are_ignored_are_told(write):
    entry = {**EYE, "mask": "a.png", "targett": "vessels"}
    content = {"train": [entry], "valid": [{**entry, "image": "images/2.png", "scanner": 70}]}
    path = write(content, FILES)
    with pytest.warns(InputWarning) as told:
        first, _ = read_splits(path, "fundus")
    assert first.targets == ()
    assert [str(one.message) for one in told] == [
        f"The key 'targett' of entry 1 of train in {path} and 1 more is ignored; did you mean "
        f"target? Known are {', '.join(KEYS)}.",
        f"The key 'scanner' of entry 1 of valid in {path} is ignored. Known are {', '.join(KEYS)}.",
    ]
    assert {one.filename for one in told} == {__file__}


def test_names_with_a_folder_per_target(write):
    path = write(
        {"train": ["1.png"], "test": ["2.png"]},
        ["images/1.png", "images/2.png", "masks/vessels/1.png", "masks/vessels/2_mask.png"]
        + ["masks/optic_disc/1.png"],
    )
    first, second = read_splits(path, "fundus")
    assert [one.target for one in first.targets] == ["optic_disc", "vessels"]
    assert [(one.target, one.mask.name) for one in second.targets] == [("vessels", "2_mask.png")]
    with pytest.raises(InputError, match=r"names 2.png, but .*masks has no such file"):
        read_splits(path, "fundus", targets=["optic_disc"])
    with pytest.raises(InputError, match="masks has no folder lungs for the masks of that target"):
        read_splits(path, "fundus", targets=["lungs"])


def test_names_of_label_images(write):
    path = write({"train": ["1.png"]}, ["images/1.png", "masks/1.png"])
    (record,) = read_splits(path, "fundus", labels="1=lungs;2=heart", targets="heart")
    assert _of(record) == [("heart", "1.png", (2,))]
    assert _of(read_splits(path, "fundus", target="lungs")[0]) == [("lungs", "1.png", None)]
    assert read_splits(path, "fundus")[0].targets == ()
