"""The folder of images and labels."""

import json
import threading

import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.serve.monai_label.sessions import Sessions
from keras_espmedsam.serve.monai_label.stored_files import label_suffix
from keras_espmedsam.serve.monai_label.studies import Studies
from keras_espmedsam.serve.problems import Problem


@pytest.fixture
def folder(tmp_path, eye):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("DOE.png", "ROE.png", "note.txt", ".hidden.png"):
        (folder / name).write_bytes(eye)
    return folder


@pytest.fixture
def studies(folder):
    found = Studies(folder, 1000)
    yield found
    found.close()


def id_of(studies, name):
    return next(id for id, one in studies.images().items() if one.path.name == name)


def test_ids_tell_nothing_and_stay(studies, folder, eye):
    ids = list(studies.images())
    assert [studies.image(id).path.name for id in ids] == ["DOE.png", "ROE.png"]
    assert "DOE" not in "".join(ids)
    (folder / "AAA.png").write_bytes(eye)  # While it runs.
    assert list(studies.images())[1:] == ids
    studies.close()
    again = Studies(folder, 1000)
    assert list(again.images())[1:] == ids
    (folder / "DOE.png").unlink()
    assert ids[0] not in again.images()
    with pytest.raises(Problem, match="no image"):
        again.image(ids[0])
    again.close()


def test_a_label_stands_beside_its_image_under_its_name(studies, folder, eye, tmp_path):
    id = id_of(studies, "DOE.png")
    source = tmp_path / "label"
    source.write_bytes(eye)
    studies.save_label(id, "final", source, {"who": "me"})
    assert (folder / "labels" / "final" / "DOE.png").read_bytes() == eye
    source.write_bytes(b"NRRD0004\ntype: uint8\n\n")
    studies.save_label(id, "final", source, {})
    assert [one.name for one in (folder / "labels" / "final").iterdir()] == ["DOE.nrrd"]
    label = studies.label(id, "final")
    assert (label.path.name, label.suffix, "who" in label.info) == ("DOE.nrrd", ".nrrd", False)
    studies.update_info(id, "final", {"seen": True})
    studies.update_info(id, None, {"hard": 1})
    assert studies.label(id, "final").info["seen"] is True
    assert studies.image(id).info["hard"] == 1
    assert (folder / "DOE.png").read_bytes() == eye
    with pytest.raises(Problem, match="has no label 'original'"):
        studies.label(id, "original")


def test_labels_of_another_program_are_found(studies, folder, eye):
    (folder / "labels" / "final").mkdir()
    (folder / "labels" / "final" / "ROE.nii.gz").write_bytes(b"any")
    assert list(studies.image(id_of(studies, "ROE.png")).labels) == ["final"]
    assert not studies.image(id_of(studies, "DOE.png")).labels


def test_images_of_one_name_have_labels_of_their_own(studies, folder, eye, tmp_path):
    (folder / "DOE.bmp").write_bytes(eye)
    for name in ("DOE.png", "DOE.bmp"):
        source = tmp_path / "label"
        source.write_bytes(eye)
        studies.save_label(id_of(studies, name), "final", source, {})
    names = sorted(one.name for one in (folder / "labels" / "final").iterdir())
    assert names == ["DOE.bmp.png", "DOE.png.png"]
    assert studies.label(id_of(studies, "DOE.png"), "final").path.name == "DOE.png.png"
    (folder / "DOE.bmp").unlink()
    assert studies.label(id_of(studies, "DOE.png"), "final").path.name == "DOE.png.png"


def test_an_added_image_has_the_clients_id_and_a_name_of_ours(
    studies, folder, eye, image_bytes, tmp_path
):
    source = tmp_path / "upload"
    source.write_bytes(eye)
    assert studies.add_image("2: ../DOE", source, {}) == "2: ../DOE"
    added = studies.image("2: ../DOE").path
    assert added.parent == folder.resolve()
    assert added.suffix == ".png"
    assert "DOE" not in added.name
    assert studies.add_image("2: ../DOE", source, {}) == "2: ../DOE"  # The same once more.
    source.write_bytes(image_bytes([[1]]))
    with pytest.raises(Problem, match="never replaced") as problem:
        studies.add_image("2: ../DOE", source, {})
    assert problem.value.status == 409
    assert added.read_bytes() == eye
    assert studies.image(studies.add_image("", source, {})).path.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"hello", "not an image"), (None, "the limit is 1,000")],
)
def test_what_is_no_image_is_not_added(studies, tmp_path, image_bytes, content, words):
    source = tmp_path / "upload"
    source.write_bytes(image_bytes([[0] * 2000]) if content is None else content)
    before = sorted(studies.folder.rglob("*"))
    with pytest.raises(InputError, match=words) as error:
        studies.add_image("a", source, {})
    assert str(tmp_path) not in str(error.value)
    assert sorted(studies.folder.rglob("*")) == before


@pytest.mark.parametrize("tag", ["", "..", "../..", "a/b", ".hidden", "x" * 41])
def test_a_tag_is_no_path(studies, tmp_path, eye, tag):
    source = tmp_path / "label"
    source.write_bytes(eye)
    with pytest.raises(InputError, match="the tag"):
        studies.save_label(id_of(studies, "DOE.png"), tag, source, {})


def test_links_out_of_the_folder_are_not_followed(folder, tmp_path, eye):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(eye)
    try:
        (folder / "link.png").symlink_to(outside / "secret.png")
        (folder / "labels").mkdir()
        (folder / "labels" / "final").symlink_to(outside)
        (folder / "labels" / "original").mkdir()
        (folder / "labels" / "original" / "DOE.png").symlink_to(outside / "secret.png")
    except OSError:
        pytest.skip("this system has no links")
    studies = Studies(folder, 1000)
    assert {one.path.name for one in studies.images().values()} == {"DOE.png", "ROE.png"}
    id = id_of(studies, "DOE.png")
    assert not studies.image(id).labels
    source = tmp_path / "label"
    source.write_bytes(eye)
    with pytest.raises(Problem, match="leads out"):
        studies.save_label(id, "final", source, {})
    assert [one.name for one in outside.iterdir()] == ["secret.png"]
    studies.close()


def test_a_folder_that_cannot_be_used_is_told(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="labels cannot be written"):
        Studies(tmp_path / "file", 1000)
    first = Studies(folder, 1000)
    if first._handle is not None:  # Where folders can be locked.
        with pytest.raises(InputError, match="Another server uses"):
            Studies(folder, 1000)
    first.images()
    first.close()
    index = folder / "labels" / "datastore.json"
    assert sorted(one["file"] for one in json.loads(index.read_text())["images"].values())
    for damaged in ("{", '{"images": {"a": {}}}', '{"images": [1]}', "[]"):
        index.write_text(damaged)
        with pytest.raises(InputError, match="move it away"):
            Studies(folder, 1000)
    index.unlink()
    Studies(folder, 1000).close()  # The tries before left it free.


def test_info_is_bounded(studies):
    with pytest.raises(InputError, match="100,000 bytes"):
        studies.update_info(id_of(studies, "DOE.png"), None, {"a": "x" * 100_000})


def test_many_threads_see_one_list(studies):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(list(studies.images()))) for _ in range(8)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [found[0]] * 8


@pytest.mark.parametrize(
    ("head", "suffix"),
    [
        (b"NRRD0005\nSegment0_ID:=lungs\n\n", ".seg.nrrd"),
        (b"<?xml version='1.0'?><ASAP_Annotations/>", ".xml"),
        (None, ".png"),
    ],
)
def test_labels_are_known_by_their_content(tmp_path, eye, head, suffix):
    path = tmp_path / "label.exe"
    path.write_bytes(head or eye)
    assert label_suffix(path, 1000) == suffix


def test_raw_numbers_are_no_label(tmp_path):
    path = tmp_path / "label.bin"
    path.write_bytes(bytes(100))
    with pytest.raises(InputError, match="not as raw numbers"):
        label_suffix(path, 1000)


def test_sessions_go_by_time_by_number_and_at_the_end(tmp_path, eye):
    def source():
        path = tmp_path / "image"
        path.write_bytes(eye)
        return path

    sessions = Sessions()
    first = sessions.add(source(), ".png")
    path = sessions.path(first)
    assert (path.read_bytes(), path.suffix) == (eye, ".png")
    assert sessions.info(first)["expiry"] == 3600
    sessions.remove(first)
    assert not path.exists()
    with pytest.raises(Problem, match="its time is up"):
        sessions.path(first)
    ids = [sessions.add(source(), ".png", 10**9) for _ in range(33)]
    with pytest.raises(Problem):
        sessions.info(ids[0])
    folder = sessions.path(ids[1]).parent
    assert len(list(folder.iterdir())) == 32
    timer = sessions._kept[ids[1]][2]
    timer.function(*timer.args)  # What it does when the time is up.
    assert len(list(folder.iterdir())) == 31
    sessions.close()
    assert not folder.exists()
