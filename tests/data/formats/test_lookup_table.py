import numpy as np
import pytest

from keras_espmedsam.data.formats.lookup_table import LookupTable

SQUARES = (np.arange(256) ** 2 / 255).round().astype(int)


@pytest.mark.parametrize(
    ("bits", "white"), [(8, 255), (10, 1023), (12, 4095), (14, 16383), (16, 65535)]
)
@pytest.mark.parametrize("form", ["words", "integers"])
def test_entries_of_any_depth(bits, white, form):
    entries = (np.arange(256) / 255 * white).round().astype(int)
    data = entries.astype("<u2").tobytes() if form == "words" else entries.tolist()
    table = LookupTable.of([256, 0, bits], data, little_endian=True)
    assert table.white == white
    np.testing.assert_array_equal(table(np.arange(256)), entries)


def test_entries_of_a_byte_each():
    table = LookupTable.of([256, 0, 8], bytes(SQUARES.tolist()), little_endian=True)
    np.testing.assert_array_equal(table(np.arange(256, dtype="u1")), SQUARES)


def test_words_of_a_big_endian_file():
    table = LookupTable.of([256, 0, 16], (SQUARES * 257).astype(">u2").tobytes(), False)
    np.testing.assert_array_equal(table(np.arange(256)), SQUARES * 257)


def test_0_entries_are_65536():
    table = LookupTable.of([0, 0, 16], np.arange(65536).astype("<u2").tobytes(), True)
    assert table(np.array([0, 300, 65535])).tolist() == [0, 300, 65535]


@pytest.mark.parametrize("first", [-100, 65436])
def test_the_first_value_may_be_negative_and_be_written_unsigned(first):
    table = LookupTable.of([256, first, 8], bytes(range(256)), True)
    values = np.array([-500, -100, -1, 0, 155, 156, 999], "int16")
    assert table(values).tolist() == [0, 0, 99, 100, 255, 255, 255]
    np.testing.assert_array_equal(table(values.astype(float)), table(values))


def test_a_first_value_that_is_large_indeed():
    table = LookupTable.of([256, 60000, 8], bytes(range(256)), True)
    assert table(np.array([3, 60000, 60007, 65535], "uint16")).tolist() == [0, 0, 7, 255]
    # Values without a sign are below it, not behind a negative one.
    assert table(np.array([3, 4095], "uint16")).tolist() == [0, 0]


def test_fractions_go_to_the_nearest_entry():
    table = LookupTable.of([4, 0, 8], bytes([0, 10, 20, 30]), True)
    assert table(np.array([0.4, 0.6, 2.9])).tolist() == [0, 10, 30]


@pytest.mark.parametrize(
    ("said", "largest", "white"),
    [
        (16, 4095, 4095),  # often said of tables of 12 bits
        (16, 200, 255),
        (12, 65535, 65535),
        (8, 4095, 4095),
        (12, 1000, 4095),  # a dark table is one
        (16, 16383, 65535),
    ],
)
def test_the_bits_that_are_said_and_those_that_are_used(said, largest, white):
    assert LookupTable.of([2, 0, said], [0, largest], True).white == white


def test_more_entries_than_said_are_left_out():
    assert LookupTable.of([2, 0, 8], bytes([1, 2, 3]), True)(np.array([9])).tolist() == [2]


def test_fewer_entries_than_said():
    with pytest.raises(ValueError, match="of 9 entries holds 2"):
        LookupTable.of([9, 0, 8], bytes([1, 2]), True)
