"""What a comment behind code states, and when it holds."""

import numpy as np
import pytest

from tests.docs import stated_values


@pytest.mark.parametrize(
    ("comment", "stated"),
    [
        ("# 0.93", "0.93"),
        ("# -1", "-1"),
        ("# (2, 64, 64), bool", "(2, 64, 64)"),
        ('# ["fundus", "xray"], [None, ...]', '["fundus", "xray"], [None, ...]'),
        ("# 0.93 (on the image above)", "0.93"),
        ("# 300136: weights of the adapter", "300136"),
        ("# bool, the image's own size", None),
        ("# 10 images", None),
        ("# (batch, height, width, 3)", None),
        ("# or my_folder", None),
        ("#", None),
    ],
)
def test_a_literal_at_the_beginning_is_a_value_and_all_else_words(comment, stated):
    found = stated_values.literal(comment)
    assert (found and found[1]) == stated


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("0.934  # 0.93", 1),
        ("0.9449  # 0.93", 0),
        ("1e-5  # 1e-5", 1),
        ("3e-5  # 1e-5", 0),
        ("3  # 3", 1),
        ("3.0  # 3", 1),
        ("3.2  # 3", 0),
        ("True  # 1", 0),
        ("None  # None", 1),
        ("np.float32(0.5)  # 0.5", 1),
        ("np.zeros((2, 3))  # (2, 3)", 1),
        ("np.zeros((2, 3))  # (3, 2)", 0),
        ("np.zeros(2)  # [0.0, 0.0]", 1),
        ("np.arange(9)  # [0, ..., 8]", 1),
        ("np.arange(9)  # [1, ...]", 0),
        ("[1, 2]  # [1, 2, ...]", 1),
        ("[1]  # [1, 2, ...]", 0),
        ("[1, 2]  # (1, 2)", 0),
        ("{'a': 0.51}  # {'a': 0.5}", 1),
        ("{'a': 0.5, 'b': 1}  # {'a': 0.5}", 0),
        ("x = np.zeros((2, 3))  # (2, 3)", 1),
        ("x, y = 1, 2  # (1, 2)", 1),
        ("x: int = 4  # 5", 0),
        ("print('a', 1)  # 'a 1'", 1),
        ("print(0.51)  # 0.5", 1),
        ("print(0.71)  # 0.5", 0),
        ("for i in range(2):\n    2 * i + 1 - i - i  # 1", 1),
        ("max(\n    1,\n    2,  # 3\n)  # 2", 1),
        ("'a # 1'  # 'a # 1'", 1),
    ],
)
def test_values_are_compared_to_the_stated_digits(code, count):
    if not count:
        with pytest.raises(AssertionError, match=r"line \d+ states"):
            stated_values.run(code, {"np": np}, "page.md", 1)
    else:
        assert stated_values.run(code, {"np": np}, "page.md", 1) == count


def test_errors_name_the_line_of_the_page():
    with pytest.raises(AssertionError, match="line 41 states 2, and gives 3"):
        stated_values.run("1\n3  # 2", {}, "page.md", 40)
