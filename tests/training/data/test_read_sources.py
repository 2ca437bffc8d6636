import pytest
from PIL import Image

from keras_espmedsam.errors import InputError
from keras_espmedsam.training.config.data_settings import DataSettings
from keras_espmedsam.training.data.read_sources import read_sources

INDEX = """split,modality,dataset,image,mask,target
train,fundus,eyes,1.png,1_v.png,vessels
train,fundus,eyes,1.png,1_d.png,optic_disc
train,xray,chests,2.png,2_l.png,
"""


@pytest.fixture
def folder(tmp_path):
    for name in ("1", "1_v", "1_d", "2", "2_l"):
        Image.new("L", (4, 4)).save(tmp_path / f"{name}.png")
    for name in ("images/7", "masks/7", "objects/7"):
        (tmp_path / "more" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / "more" / f"{name}.png")
    (tmp_path / "index.csv").write_text(INDEX)
    (tmp_path / "split.json").write_text('{"train": [{"image": "2.png", "mask": "2_l.png"}]}')
    return tmp_path


def _read(**source):
    settings = DataSettings(sources=[source], val_splits=[])
    return [
        [(one.target, one.values) for one in record.targets]
        for record in read_sources(settings)["train"]
    ]


def test_targets_of_an_index(folder):
    index = folder / "index.csv"
    both = [("vessels", None), ("optic_disc", None)]
    assert _read(index=index) == [both, [("", None)]]
    assert _read(index=index, targets=["optic_disc"]) == [both[1:]]
    assert _read(index=index, targets={"fundus": ["vessels"]}) == [both[:1], [("", None)]]
    assert _read(index=index, target={"xray": "lungs"}) == [both, [("lungs", None)]]
    assert _read(index=index, labels={1: "lungs"}) == [both, [("lungs", (1,))]]


def test_targets_of_a_folder_and_of_splits(folder):
    more = dict(folder=folder / "more", modality="xray")
    assert _read(**more) == [[]]
    assert _read(**more, target="heart") == [[("heart", None)]]
    assert _read(**more, labels={1: "lungs", 2: ["lungs", "heart"]}) == [
        [("lungs", (1, 2)), ("heart", (2,))]
    ]
    assert _read(**more, instances="objects") == [[("", None)]]
    splits = dict(splits=folder / "split.json", modality="xray")
    assert _read(**splits, labels="2=heart") == [[("heart", (2,))]]
    assert _read(**splits, target="lungs", targets=["lungs"]) == [[("lungs", None)]]


def test_a_table_is_the_same_however_it_is_written():
    tables = ({1: "lungs", 2: ["a", "b"]}, {"1": "lungs", "2": "a+b"}, "1=lungs;2=a+b")
    sources = [{"index": __file__, "labels": table} for table in tables]
    settings = DataSettings(sources=sources)
    assert {source.labels for source in settings.sources} == {"1=lungs;2=a+b"}


def test_a_new_modality_has_its_target_from_an_index(folder):
    settings = DataSettings(
        sources=[{"index": folder / "index.csv", "targets": ["vessels"]}], val_splits=[]
    )
    (record,) = read_sources(settings, modality="retina")["train"]
    assert (record.modality, record.targets[0].target) == ("retina", "vessels")


def test_images_without_labels_need_none(folder):
    settings = DataSettings(
        sources=[{"index": folder / "index.csv", "targets": ["none"]}], val_splits=[]
    )
    assert len(read_sources(settings, labelled=False)["train"]) == 2
    with pytest.raises(InputError, match="the target none, which the index"):
        read_sources(settings)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("labels", {"one": "lungs"}, "'one' is no whole number"),
        ("labels", "", "expected a name, or several"),
        ("instances", "objects", "instances does not go with index"),
        ("targets", 3, "targets"),
    ],
)
def test_keys_that_cannot_be_used(key, value, message):
    with pytest.raises(ValueError, match=message):
        DataSettings(sources=[{"index": __file__, key: value}])


def test_data_sets_that_are_left_out(folder):
    sources = [
        {"index": folder / "index.csv"},
        {"folder": folder / "more", "modality": "xray", "dataset": "objects"},
    ]

    def read(*names):
        settings = DataSettings(sources=sources, val_splits=[], exclude_datasets=names)
        return [record.dataset for record in read_sources(settings)["train"]]

    assert read() == ["eyes", "chests", "objects"]
    assert read("eyes", "objects") == ["chests"]
    with pytest.raises(InputError, match=r"no data set eye, which exclude_.* mean eyes"):
        read("eye")
