import unicodedata

import pytest

from keras_espmedsam.data import read_index
from keras_espmedsam.errors import InputError

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
