"""Forms: fields and files, damaged and oversized ones."""

import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.serve.monai_label.forms import Form, read_form

KIND = "multipart/form-data; boundary=edge"


def part(name, content, file=None):
    named = "" if file is None else f'; filename="{file}"'
    head = f'--edge\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + content + b"\r\n"


@pytest.fixture
def read(tmp_path):
    def read(body, kind=KIND):
        path = tmp_path / "body"
        path.write_bytes(body)
        return read_form(path, kind, tmp_path)

    return read


def test_fields_and_files_are_told_apart(read, tmp_path):
    image = bytes(range(256)) * 9000 + b"\r\n--edg"  # More than a chunk, and nearly its end.
    form = read(
        part("params", b'{"a": 1}') + part("file", image, "../../DOE.png") + b"--edge--\r\n"
    )
    assert form.fields == {"params": '{"a": 1}'}
    assert form.files["file"].read_bytes() == image
    assert form.files["file"].parent == tmp_path
    assert "DOE" not in str(form.files["file"])
    assert form.json("params") == {"a": 1}
    assert form.json("info") == {}


def test_other_bodies(read):
    assert read(b"") == Form()
    assert read(b"a=1&b=", "application/x-www-form-urlencoded").fields == {"a": "1", "b": ""}
    assert read(part("file", b"", "a") + b"--edge--\r\n").files["file"].read_bytes() == b""


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"x", "text/plain", "expected a form"),
        (b"x", "multipart/form-data", "expected a form"),
        (b"x", KIND, "damaged"),
        (part("a", b"1"), KIND, "damaged"),
        (part("file", b"1", "a")[:-9], KIND, "damaged"),
        (part("a", bytes(1_000_001)) + b"--edge--\r\n", KIND, "1,000,000 bytes"),
        (b"--edge\r\nX: " + bytes(20_000), KIND, "1,000,000 bytes|damaged"),
        (part("a", b"1") * 21 + b"--edge--\r\n", KIND, "20 parts"),
        (b"a=1&" * 30, "application/x-www-form-urlencoded", "20 fields"),
        (b"a=%ff\xff", "application/x-www-form-urlencoded", "no text"),
    ],
)
def test_a_form_that_cannot_be_used_is_told(read, body, kind, words):
    with pytest.raises(InputError, match=words):
        read(body, kind)


@pytest.mark.parametrize("text", ["[1]", "{", '{"a": NaN}', "[" * 100_000, '"a"'])
def test_no_json_object_is_told(text):
    with pytest.raises(InputError, match="expected a JSON object"):
        Form({"params": text}).json("params")
