"""What of a stranger's file may be shown."""

import pathlib
import time

import numpy as np
import pytest

from keras_espmedsam._shown import (
    LENGTH,
    SENTENCE_LENGTH,
    cell,
    printable,
    shown,
    shown_sentence,
    shown_value,
)
from keras_espmedsam.errors import InputError, InputWarning, NoImageError, warn_of_input


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("fundus", "fundus"),
        ("Röntgen 胸部 μ-CT.png", "Röntgen 胸部 μ-CT.png"),
        ("C:\\data\\a.png", "C:\\data\\a.png"),
        ("", ""),
        ("a\u3000b\u00a0c", "a\u3000b\u00a0c"),
        ("\x1b[2J\x1b]0;title\x07x", r"\x1b[2J\x1b]0;title\x07x"),
        ("\x9b2J", r"\x9b2J"),  # The same in one character, for a terminal that reads 8 bits.
        ("a\nb\r\tc\x00\x7f", r"a\nb\r\tc\x00\x7f"),
        ("a\u2028b\u2029c\x85", r"a\u2028b\u2029c\x85"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2066a\u2069\u200e\u200b\ufeff", r"\u2066a\u2069\u200e\u200b\ufeff"),
        ("a\udcffb", r"a\udcffb"),  # a file name that is no UTF-8
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_cannot_be_seen_is_escaped_and_all_else_stays(text, right):
    assert shown(text) == right
    assert shown_sentence(text) == right
    assert printable(text) == right


def test_a_name_is_cut_however_long_it_is():
    assert shown("x" * LENGTH) == "x" * LENGTH
    assert shown("x" * (LENGTH + 1)) == "x" * (LENGTH - 3) + "..."
    start = time.perf_counter()
    assert len(shown("\x1b" * 10_000_000)) == LENGTH
    assert len(shown_value("\x1b" * 10_000_000)) <= 4 * LENGTH
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("value", "right"),
    [
        (None, "None"),
        (True, "True"),
        (-7, "-7"),
        (float("nan"), "nan"),
        ("a'b", '"a\'b"'),
        (b"\x1b", r"b'\x1b'"),
        ((1,), "(1,)"),
        ((), "()"),
        ({}, "{}"),
        ({"b": 1, "a": [2]}, "{'b': 1, 'a': [2]}"),
        ([[[["deep"]]]], "[[[[...]]]]"),
        (np.float32(0.5), repr(np.float32(0.5))),
        (np.zeros((20, 30), "uint8"), "an array of shape (20, 30) and type uint8"),
    ],
)
def test_values_are_written_as_python_does(value, right):
    assert shown_value(value) == right


def test_a_number_that_python_does_not_write_is_described():
    assert shown_value(10**5000) == "a number of 5001 digits"
    assert shown_value([-(10**5000)]) == "[a number of 5001 digits]"


def test_a_list_whose_repr_would_fill_the_memory_is_cut():
    bomb = ["lol"] * 10
    for _ in range(20):
        bomb = [bomb] * 10
    loop = []
    loop.append({"again": loop})
    for value in (bomb, loop, {"x" * 10**6: bomb}, ["y" * 10**6] * 10**6):
        assert len(shown_value(value)) <= LENGTH + 2


def test_a_class_that_cannot_write_itself_is_named():
    class Broken:
        def __repr__(self):
            raise RuntimeError

    assert shown_value(Broken()) == "an object of type Broken"


@pytest.mark.parametrize("kind", [InputError, NoImageError])
def test_every_error_of_ours_is_one_line_of_bounded_length(kind):
    assert str(kind("The file a\x1b[2J\nb is damaged.")) == r"The file a\x1b[2J\nb is damaged."
    message = str(kind("Received " + "x" * 10**6 + "; expected fundus."))
    assert len(message) < SENTENCE_LENGTH + 10
    assert message.startswith("Received xxx") and message.endswith("; expected fundus.")


def test_every_warning_of_ours_is_one_line():
    with pytest.warns(InputWarning, match=r"^The file a\\x1b\[2J is used\.$"):
        warn_of_input("The file a\x1b[2J is used.", 1)


@pytest.mark.parametrize(
    "text",
    [
        "=1+1|cmd",
        "+1 2",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "  =1+1",
        "\uff1d1+1",
        "=",
        "-",
    ],
)
def test_no_cell_is_a_formula(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize(
    "value",
    [
        "fundus",
        "a=b",
        "1-2",
        "",
        " ",
        "-0.5",
        "+3",
        "-1e-9",
        "1",
        "-inf",
        -0.5,
        7,
        None,
        np.float32(-1),
    ],
)
def test_numbers_and_names_are_cells_as_they_are(value):
    assert cell(value) is value


def test_a_path_is_a_cell_of_text():
    assert cell(pathlib.Path("=a/b.png")) == "'=a/b.png"
    assert cell(pathlib.Path("a=b.png")) == "a=b.png"
