import unicodedata

import pytest

from keras_espmedsam.data import read_column, read_index
from keras_espmedsam.errors import InputError, InputWarning

TEXT = """split,modality,dataset,image,mask,width,height,group
test,fundus,drive,a/1.png,a/1_mask.png,5,5,g1
train,fundus,drive,a/2.png,a/2_mask.png,5,5,g2
unseen,xray,montgomery,b/3.png,b/3_mask.png,5,5,
"""


@pytest.fixture
def write(tmp_path):
    for name in ("a/1", "a/2", "b/3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").touch()
        (tmp_path / f"{name}_mask.png").touch()

    def write_index(text=TEXT, encoding="utf-8"):
        path = tmp_path / "index.csv"
        path.write_text(text, encoding=encoding)
        return path

    return write_index


def test_rows_become_records(tmp_path, write):
    records = read_index(write())
    assert [record.split for record in records] == ["test", "train", "unseen"]
    first = records[0]
    assert (first.modality, first.dataset, first.group) == ("fundus", "drive", "g1")
    assert first.image == tmp_path / "a" / "1.png"
    assert first.mask == tmp_path / "a" / "1_mask.png"
    assert records[2].group == ""


def test_splits_and_datasets(write):
    path = write()
    assert [r.split for r in read_index(path, ["unseen", "test"])] == ["test", "unseen"]
    assert [r.split for r in read_index(path, datasets=["drive"])] == ["test", "train"]


def test_any_column_may_be_read(tmp_path, write):
    assert read_column(write(), "group") == {
        tmp_path / "a" / "1.png": "g1",
        tmp_path / "a" / "2.png": "g2",
        tmp_path / "b" / "3.png": "",
    }
    path = write("split,modality,dataset,image,mask, Hospital\ntest,x,d,a/1.png,a/1_mask.png, A \n")
    assert list(read_column(path, "Hospital").values()) == ["A"]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("hospital", r"has no column hospital.* It has split, modality, dataset, image"),
        ("grop", r"has no column grop; did you mean group\? It has split"),
        ("number", "has no column number"),
        ("width", r"gives .*1\.png the values 5 and 6 in the column width; give all rows of an im"),
    ],
)
def test_a_column_that_cannot_be_read(write, column, message):
    path = write(TEXT + "test,fundus,drive,a/1.png,a/2_mask.png,6,5,g1\n")
    with pytest.raises(InputError, match=message):
        read_column(path, column)


def test_spreadsheet_files(write):
    path = write("mask, image ,dataset,modality,split\na/1_mask.png,a/1.png,d,xray,test\n\n",
                 encoding="utf-8-sig")  # fmt: skip
    assert len(read_index(path, ["test"])) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks the columns.*found no columns"),
        ("split,image,mask\n", "lacks the columns modality, dataset; found split, image, mask"),
        (TEXT.splitlines()[0], "has no rows"),
        (TEXT.replace("fundus", "", 1), "Row 1 .* has no modality"),
        (TEXT + "test,fundus\n", "Row 4 .* has no dataset, image, mask"),
        (TEXT.replace("a/1.png", "a/9.png"), "do not exist: .*9.png. Paths are relative"),
        (TEXT.replace("unseen,xray,montgomery", "test,xray,drive"), "drive the modalities fundus"),
    ],
)
def test_indexes_that_cannot_be_used(write, text, message):
    with pytest.raises(InputError, match=message):
        read_index(write(text))


def test_unknown_names_list_the_present_ones(write):
    path = write()
    with pytest.raises(InputError, match=r"split 'val', which .* it has test, train, unseen"):
        read_index(path, ["val"])
    with pytest.raises(InputError, match=r"dataset 'isic'.* it has drive\."):
        read_index(path, ["test"], ["isic"])


def test_only_chosen_rows_need_their_files(tmp_path, write):
    path = write()
    (tmp_path / "a" / "2.png").unlink()
    assert len(read_index(path, ["test"])) == 1
    with pytest.raises(InputError, match=r"2\.png"):
        read_index(path, ["train"])


def test_many_missing_files_are_counted(write):
    rows = "".join(f"test,xray,d,m{k}.png,n{k}.png\n" for k in range(4))
    with pytest.raises(InputError, match="and 5 more"):
        read_index(write("split,modality,dataset,image,mask\n" + rows))


def test_files_that_are_no_index(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_index(tmp_path / "none.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_index(tmp_path)
    (tmp_path / "binary.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(InputError, match="not a CSV text file"):
        read_index(tmp_path / "binary.csv")


def test_images_without_masks(tmp_path, write):
    path = write(
        "split,dataset,image,modality,group\ntrain,coco,a/1.png,,\ntrain,mr,b/3.png,mr,g\n"
    )
    with pytest.raises(InputError, match="lacks the column mask"):
        read_index(path)
    first, second = read_index(path, labelled=False)
    assert (first.mask, first.modality, first.group) == (None, "", "")
    assert (second.mask, second.modality, second.group) == (None, "mr", "g")
    mixed = write(TEXT.replace("b/3_mask.png", ""))
    with pytest.raises(InputError, match=r"Row 3 .* has no mask"):
        read_index(mixed)
    assert [r.mask is None for r in read_index(mixed, labelled=False)] == [False, False, True]


def test_the_shared_index(data_dir):
    records = read_index(data_dir / "index.csv", ["test", "unseen"])
    assert {r.modality for r in records} == {
        *("dermoscopy", "xray", "ultrasound", "fundus", "microscopy", "colonoscopy")
    }


@pytest.mark.parametrize(("in_index", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_written_otherwise_than_on_disk(tmp_path, in_index, on_disk):
    """An archive unpacked on macOS has decomposed names, the index that came with it has not."""
    for name in ("Größe/é.png", "Größe/é_mask.png"):
        path = tmp_path / unicodedata.normalize(on_disk, name)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    rows = "split,modality,dataset,image,mask\ntest,fundus,drive,Größe/é.png,Größe/é_mask.png\n"
    (tmp_path / "index.csv").write_text(unicodedata.normalize(in_index, rows), encoding="utf-8")
    (record,) = read_index(tmp_path / "index.csv")
    assert record.image.is_file() and record.mask.is_file()


@pytest.fixture
def targets(write):
    """Write an index with the columns of targets, and touch the files it may name."""

    def write_targets(*rows, header="target,labels,instances"):
        path = write(
            f"split,modality,dataset,image,mask,{header}\n"
            + "".join(f"train,fundus,drive,{row}\n" for row in rows)
        )
        for name in ("v", "d", "c", "n"):
            (path.parent / f"{name}.png").touch()
        return path

    return write_targets


def _named(records):
    return [{one.target: one.mask.name for one in record.targets} for record in records]


def test_rows_of_one_image_are_one_record(targets):
    path = targets(
        "a/1.png,v.png,vessels,,",
        "a/2.png,d.png,optic_disc,,",
        "a/../a/1.png,d.png,optic_disc,,n.png",
    )
    records = read_index(path)
    assert [record.image.name for record in records] == ["1.png", "2.png"]
    assert _named(records) == [
        {"vessels": "v.png", "optic_disc": "d.png"},
        {"optic_disc": "d.png"},
    ]
    assert records[0].mask.name == "v.png"
    assert [one.instances and one.instances.name for one in records[0].targets] == [None, "n.png"]


def test_columns_that_are_empty_change_nothing(targets):
    """One row is one record, even of one image, as in version 0.1.0."""
    path = targets("a/1.png,v.png,,,", "a/1.png,d.png,,,")
    assert [(r.mask.name, r.targets) for r in read_index(path)] == [("v.png", ()), ("d.png", ())]


def test_label_images(targets):
    path = targets("a/1.png,v.png,,128=optic_disc;0=optic_disc+optic_cup;255=background,")
    (record,) = read_index(path)
    assert [(one.target, one.values) for one in record.targets] == [
        ("optic_disc", (128, 0)),
        ("optic_cup", (0,)),
    ]
    assert {one.table for one in record.targets} == {
        "128=optic_disc;0=optic_disc+optic_cup;255=background"
    }
    assert record.mask.name == "v.png"


def test_the_rest_of_an_index_may_be_named_from_outside(targets):
    path = targets("a/1.png,v.png,,,", "a/2.png,d.png,optic_cup,,", "b/3.png,c.png,,1=heart,")
    labelled = read_index(path, labels={1: "vessels", 2: "optic_disc"})
    assert [[one.target for one in record.targets] for record in labelled] == [
        ["vessels", "optic_disc"],
        ["optic_cup"],
        ["heart"],
    ]
    named = [
        [[one.target for one in record.targets] for record in read_index(path, target=target)]
        for target in ("vessels", {"fundus": "vessels"}, {"xray": "lungs"}, None)
    ]
    assert named[0] == named[1] == [["vessels"], ["optic_cup"], ["heart"]]
    assert named[2] == named[3] == [[""], ["optic_cup"], ["heart"]]
    with pytest.raises(InputError, match=r"Received target='vessels' and labels=.*; give a target"):
        read_index(path, target="vessels", labels="1=lungs")


def test_instances_need_no_mask(targets):
    (record,) = read_index(targets("a/1.png,,nuclei,,n.png"))
    (one,) = record.targets
    assert record.mask == one.mask == one.instances
    (record,) = read_index(targets("a/1.png,,,,n.png"))
    assert [(one.target, one.instances.name) for one in record.targets] == [("", "n.png")]
    path = targets("a/1.png,n.png")
    path.write_text("split,modality,dataset,image,instances\ntrain,fundus,drive,a/1.png,n.png\n")
    assert read_index(path)[0].mask.name == "n.png"


def test_targets_to_keep(targets):
    path = targets(
        "a/1.png,v.png,vessels,,", "a/1.png,d.png,optic_disc,,", "a/2.png,c.png,optic_disc,,"
    )
    assert _named(read_index(path, targets=["vessels"])) == [{"vessels": "v.png"}]
    assert _named(read_index(path, targets="optic_disc")) == [
        {"optic_disc": "d.png"},
        {"optic_disc": "c.png"},
    ]
    assert read_index(path, targets="optic_disc")[0].mask.name == "d.png"
    assert len(_named(read_index(path, targets={"fundus": ["optic_disc", "vessels"]}))) == 2
    with pytest.raises(
        InputError, match=r"target vesels, .* does not have; did you mean vessels\? It has vess"
    ):
        read_index(path, targets=["vesels"])
    with pytest.raises(InputError) as told:
        read_index(path, targets={"fundu": "vessels"})
    assert str(told.value) == (
        f"Received targets of the modality 'fundu', which the index {path} does not have; did you "
        "mean fundus? It has fundus."
    )
    with pytest.raises(
        InputError, match=r"target vesels of fundus, which .*; did you mean vessels"
    ):
        read_index(path, targets={"fundus": "vesels"})
    with pytest.raises(InputError, match=r"Received targets=\[\]; expected the names"):
        read_index(path, targets=[])
    with pytest.raises(InputError, match="target 'optic disc'; expected a name of letters"):
        read_index(path, targets="optic disc")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["a/1.png,v.png,vessels,,", "a/1.png,d.png,vessels,,"],
            r"target vessels of the image .*1.png has a mask in row 1 of .* and in row 2 of",
        ),
        (
            ["a/1.png,v.png,vessels,,", "a/1.png,v.png,vessels,,"],
            "expected one for each target of an image, so merge them or delete a row",
        ),
        (
            ["a/1.png,v.png,,1=vessels,", "a/1.png,d.png,vessels,,"],
            "target vessels of the image .* has a mask in row 1",
        ),
        (
            ["a/1.png,v.png,vessels,,", "a/1.png,d.png,,,", "a/1.png,c.png,,,"],
            r"target \(none named\) of the image .* in row 2 of .* and in row 3",
        ),
        (["a/1.png,v.png,optic disc,,"], "target 'optic disc' in row 1 of .*; expected a name"),
        (["a/1.png,v.png,vessels,1=vessels,"], "target vessels and labels in row 1 of"),
        (["a/1.png,v.png,,lungs,"], "Received labels='lungs' in row 1 of the index"),
        (
            ["a/1.png,v.png,,1=lungs;2=heart,n.png"],
            "Received instances for a label image of lungs, heart in row 1",
        ),
        (["a/1.png,v.png,vessels,,none.png"], r"do not exist: .*none.png"),
        (["a/1.png,,vessels,,"], "Row 1 of the index .* has no mask"),
    ],
)
def test_targets_that_cannot_be_used(targets, rows, message):
    with pytest.raises(InputError, match=message):
        read_index(targets(*rows))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("split", "val", r"has the split train in row 1 of .* and val in row 2 of"),
        ("dataset", "other", "has the dataset drive in row 1"),
        ("group", "p2", r"has the group none in row 1 of .* and p2 in row 2"),
        ("intensity", "full", r"has the intensity none in row 1 .* and full in row 2"),
    ],
)
def test_rows_of_one_image_agree(write, column, value, message):
    header = ["split", "modality", "dataset", "image", "mask", "target", "group", "intensity"]
    first = dict(zip(header, "train fundus drive a/1.png a/1_mask.png v".split(), strict=False))
    second = {**first, "target": "d", column: value}
    rows = [header, *([one.get(name, "") for name in header] for one in (first, second))]
    with pytest.raises(InputError, match=message):
        read_index(write("".join(",".join(row) + "\n" for row in rows)))


def test_a_column_that_is_likely_misspelt(write):
    path = write(TEXT.replace("height", "targets", 1))
    with pytest.warns(InputWarning, match="column targets of the index .* call it target"):
        assert read_index(path)[0].targets == ()


def test_images_of_which_some_have_masks(targets):
    path = targets("a/1.png,,,,", "a/2.png,v.png,vessels,,", "a/1.png,d.png,optic_disc,,")
    first, second = read_index(path, labelled=False)
    assert _named([first, second]) == [{"optic_disc": "d.png"}, {"vessels": "v.png"}]


def test_the_shared_index_of_targets(data_dir):
    path = data_dir / "index2.csv"
    if not path.exists():
        pytest.skip("the shared data is older")
    records = read_index(path)
    assert len(records) == 5638 and sum(len(record.targets) for record in records) == 6236
    eyes = read_index(path, datasets=["drishti_gs"], targets={"fundus": "optic_cup"})
    assert {one.target for record in eyes for one in record.targets} == {"optic_cup"}
