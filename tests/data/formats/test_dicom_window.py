import numpy as np
import pytest

from keras_espmedsam.data.formats.dicom_window import first_number, window_function

VALUES = np.array([0.0, 10.0, 50.0, 90.0, 100.0])


class Table:
    def __init__(self, entries, descriptor):
        self.LUTDescriptor, self.LUTData = descriptor, entries


@pytest.mark.parametrize(
    ("fields", "expected"),
    # PS3.3, C.11.2.1.2.1, C.11.2.1.3.1 and .2, worked out by hand.
    [
        (dict(WindowCenter=50, WindowWidth=81), [0, 0.00625, 0.50625, 1, 1]),
        (dict(WindowCenter=50, WindowWidth=80, VOILUTFunction="LINEAR_EXACT"), [0, 0, 0.5, 1, 1]),
        (
            dict(WindowCenter=50, WindowWidth=80, VOILUTFunction="SIGMOID"),
            [0.07585818, 0.11920292, 0.5, 0.88079708, 0.92414182],
        ),
        (dict(WindowCenter=50, WindowWidth=1), [0, 0, 1, 1, 1]),
        (dict(WindowCenter=[1, 50], WindowWidth=[0, 1]), [0, 0, 1, 1, 1]),
        (dict(WindowCenter=["x", "50"], WindowWidth=["9", "1"]), [0, 0, 1, 1, 1]),
        (
            dict(VOILUTSequence=[Table([0, 255], [2, 50, 8])], WindowCenter=0, WindowWidth=1),
            [0, 0, 0, 1, 1],
        ),
        (
            dict(VOILUTSequence=[object(), Table([0, 255], [2, 50, 8])]),
            [0, 0, 0, 1, 1],
        ),
    ],
)
def test_windows(fields, expected):
    np.testing.assert_allclose(window_function(fields, True)(VALUES), expected, atol=1e-6)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        dict(WindowCenter=50),
        dict(WindowWidth=50),
        dict(WindowCenter=50, WindowWidth=0),
        dict(WindowCenter=50, WindowWidth=0.9),
        dict(WindowCenter=50, WindowWidth=float("inf")),
        dict(WindowCenter=[], WindowWidth=[]),
        dict(VOILUTSequence=[Table([0], [2, 50, 8])]),
    ],
)
def test_no_window(fields):
    assert window_function(fields, True) is None


@pytest.mark.parametrize(
    ("value", "number"),
    [(7, 7), ("7.5", 7.5), ([3, 4], 3), ([], 1), ("", 1), (None, 1), ("nan", 1), ([None, 2], 1)],
)
def test_first_number(value, number):
    assert first_number(value, 1) == number
