import numpy as np
import pytest

from keras_espmedsam.data.formats.volume import Volume


@pytest.mark.parametrize(
    ("shape", "count"), [((5, 4), 1), ((5, 4, 1), 1), ((5, 4, 3), 3), ((5, 4, 3, 2), 6)]
)
def test_slices(shape, count):
    assert Volume(shape, np.eye(4)).count == count


def test_where_it_may_lie():
    """An affine alone says it; one that is made up does not."""
    assert [place.tolist() for place in Volume((5, 4), np.eye(4)).places] == [np.eye(4).tolist()]
    assert Volume((5, 4), np.eye(4), affines=()).places == ()
    both = (np.eye(4), np.diag([2.0, 2, 2, 1]))
    assert Volume((5, 4), both[0], affines=both).places == both
