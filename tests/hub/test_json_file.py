"""JSON that may come from anywhere."""

import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.json_file import MAX_BYTES, read_json


def test_sound_json_is_read_as_it_is(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": [1, -2.5, null, true, "R\xc3\xb6ntgen"], "b": {}}')
    assert read_json(path, "The file") == {"a": [1, -2.5, None, True, "Röntgen"], "b": {}}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is damaged"),
        (b'{"a": ', "is damaged"),
        (b"\xff\xfe{\x00}\x00", "is damaged"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is damaged"),
        (b"[]", r"holds \[\]; expected an object"),
        (b"null", "holds None; expected"),
        (b'{"a": NaN}', "holds NaN"),
        (b'{"a": [-Infinity]}', "holds -Infinity"),
        (b'{"a": {"b": 1e300}}', r"has 1e\+300 at a\.b"),
        (b'{"a": [0, 1e999]}', r"has inf at a\.1"),
        (b'{"a": 99999999999999999999}', "has 99999999999999999999 at a"),
        (b'{"a": "' + b"x" * 20_000 + b'"}', r"has 'xxx.*\.\.\.' at a"),
        (b'{"' + b"x" * 20_000 + b'": 1}', r"has the key xxx.*\.\.\."),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "more than 100 levels"),
        (b" " * (MAX_BYTES + 1), "more than 16 MiB"),
        (b'{"a": 1, "b": 2, "a": 1}', "has the key a twice in one object"),
        (b'{"b": [{"\\u0061": 1, "a": 2}]}', "has the key a twice in one object"),
    ],
    ids=range(18),
)
def test_what_cannot_be_used_is_one_short_sentence(tmp_path, content, says):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as error:
        read_json(path, "The file a.json")
    assert len(str(error.value)) < 400 and str(error.value).startswith("The file a.json ")


def test_a_folder_and_nothing_are_no_file(tmp_path):
    for path in (tmp_path, tmp_path / "absent", tmp_path / "a\0b"):
        with pytest.raises(InputError):
            read_json(path, "The file")


def test_a_key_in_two_objects_is_there_once_in_each(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": {"a": 1}, "b": [{"a": 2}, {"a": 3}]}')
    assert read_json(path, "The file") == {"a": {"a": 1}, "b": [{"a": 2}, {"a": 3}]}
