import unicodedata
from pathlib import Path

import pytest

from keras_espmedsam.data.file_names import file_stem, find_file, normal_name

FORMS = ("NFC", "NFD")


def _write(form, name="Höhle é"):
    return unicodedata.normalize(form, name)


def test_names_are_compared_composed():
    assert normal_name(_write("NFD")) == normal_name(_write("NFC")) == _write("NFC")
    assert normal_name("scan_7") == "scan_7"


@pytest.mark.parametrize("on_disk", FORMS)
@pytest.mark.parametrize("asked", FORMS)
@pytest.mark.parametrize("form_of_folder", FORMS)
def test_the_file_on_disk_is_found(tmp_path, on_disk, asked, form_of_folder):
    path = tmp_path / _write(form_of_folder, "Größe") / _write(on_disk, "é.png")
    path.parent.mkdir()
    path.touch()
    found = find_file(tmp_path, _write(asked, "Größe/é.png"))
    assert found.is_file() and found.samefile(path)


def test_what_is_not_there_is_given_back(tmp_path):
    assert find_file(tmp_path, "a.png") == tmp_path / "a.png"
    assert find_file(tmp_path, "é/a.png") == tmp_path / "é/a.png"
    assert find_file(tmp_path, "é.png") == tmp_path / "é.png"


def test_the_exact_name_comes_first(tmp_path):
    for form in FORMS:
        (tmp_path / _write(form, "é.png")).write_text(form)
    if len(list(tmp_path.iterdir())) == 2:  # file systems that tell both apart
        assert [find_file(tmp_path, _write(form, "é.png")).read_text() for form in FORMS] == [
            *FORMS
        ]


def test_stems_are_composed():
    decomposed = unicodedata.normalize("NFD", "Aufnahme für Müller.png")
    assert file_stem(Path(decomposed)) == "Aufnahme für Müller"
