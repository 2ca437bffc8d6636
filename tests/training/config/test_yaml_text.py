"""YAML that may come from anywhere."""

import datetime
import time

import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.training.config.yaml_text import MAX_BYTES, parse_yaml, read_yaml


def _bomb(first, other):
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{i}: &a{i} {other(', '.join([f'*a{i - 1}'] * 10))}" for i in range(1, 10)]
    return "\n".join(lines)


def test_sound_yaml_is_read_as_it_is():
    text = "a: 1e-3\nb: [1, x, null, yes]\nc: &c {d: 2020-01-02}\ne: *c\nf: {<<: *c, g: 010}"
    day = {"d": datetime.date(2020, 1, 2)}
    assert parse_yaml(text, "The configuration") == {
        **{"a": 0.001, "b": [1, "x", None, True], "c": day, "e": day},
        "f": {**day, "g": 8},
    }


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 5000 + "]" * 5000,
        "a: " + "{b: " * 3000,
        "a: " + "9" * 100_000,
        "a: 2020-13-45",
        "a: !!int ''",
        "a: !!float x",
        "a: !!bool x",
        "a: !!timestamp x",
        "a: !!binary x",
        "? [1, 2]\n: 3",
        "? {a: b}\n: 3",
        "a: 1\na: 2",
        "a: *b",
        "a: &a [*a]",
        "a: [1",
        "--- a\n--- b",
        "a: \x00",
        "a: \x1b[2J: b",
        "%YAML 9.0\n--- a",
        "x" * (MAX_BYTES + 1),
        _bomb("[lol, lol]", lambda inside: f"[{inside}]"),
        _bomb("{k: v}", lambda inside: f"{{x: [{inside}]}}"),
        _bomb("lol" * 100, lambda inside: f"[{inside}]"),
    ],
    ids=range(23),
)
def test_what_cannot_be_used_is_one_short_sentence_at_once(text):
    start = time.process_time()
    with pytest.raises(InputError, match=r"^The configuration ") as error:
        parse_yaml(text, "The configuration")
    assert len(str(error.value)) < 400 and str(error.value).isprintable()
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch PAYLOAD']",
        "!!python/object/new:os.system ['touch PAYLOAD']",
        "!!python/name:os.system",
        "!!python/module:antigravity",
        "!<tag:yaml.org,2002:python/object/apply:os.mkdir> [PAYLOAD]",
    ],
)
def test_no_tag_runs_anything(tag, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="could not determine a constructor"):
        parse_yaml(f"a: {tag}", "The configuration")
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_bytes(b"a: \xff")
    for one, says in (
        (path, "cannot be read"),
        (tmp_path, "cannot be read"),
        (tmp_path / "absent", "does not exist"),
        (tmp_path / ("x" * 5000), "cannot be read"),
        (tmp_path / "a\0b", "cannot be read"),
    ):
        with pytest.raises(InputError, match=says):
            read_yaml(one, "The configuration")
    path.write_bytes(b"a: " + b"\xc3\xa4" * MAX_BYTES)
    with pytest.raises(InputError, match="more than 256 KiB"):
        read_yaml(path, "The configuration")
    path.write_bytes(b"\xef\xbb\xbfa: \xc3\xa4")
    assert read_yaml(path, "The configuration") == {"a": "ä"}
