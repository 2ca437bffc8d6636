import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.cldice import cldice
from keras_espmedsam.evaluation.metrics import checked_metrics, dice

EMPTY = np.zeros((9, 30), bool)


def band(top, bottom, left=0, right=30):
    mask = EMPTY.copy()
    mask[top:bottom, left:right] = True
    return mask


def test_lines_by_hand():
    line = band(4, 5)  # A line is its own skeleton.
    assert cldice(line, line) == 1
    # All of the predicted line is true, and 12 of 30 pixels of the true one are found.
    assert cldice(line, band(4, 5, right=12)) == pytest.approx(2 * 0.4 / 1.4)
    assert cldice(line, band(5, 6)) == 0


def test_thickness_costs_little_and_a_gap_much():
    vessel = band(3, 6)
    thick, broken = band(2, 7), band(3, 6) & ~band(0, 9, 10, 20)
    assert dice(vessel, thick) < dice(vessel, broken)
    assert cldice(vessel, thick) > 0.9 > cldice(vessel, broken)


@pytest.mark.parametrize(
    ("truth", "prediction", "value"),
    [(EMPTY, EMPTY, 1), (~EMPTY, EMPTY, 0), (EMPTY, ~EMPTY, 0), (~EMPTY, ~EMPTY, 1)],
)
def test_empty_masks(truth, prediction, value):
    assert cldice(truth, prediction) == value
    assert cldice(truth * 255, prediction * np.uint8(255)) == value


@pytest.mark.parametrize("seed", range(4))
def test_is_symmetric_and_equals_the_papers_formula(seed):
    from skimage.morphology import skeletonize

    rng = np.random.default_rng(seed)
    truth = np.kron(rng.random((6, 8)) < 0.5, np.ones((5, 4))) > 0
    prediction = np.roll(truth, 2, 1)
    precision = (skeletonize(prediction) * truth).sum() / skeletonize(prediction).sum()
    sensitivity = (skeletonize(truth) * prediction).sum() / skeletonize(truth).sum()
    expected = 2 * precision * sensitivity / (precision + sensitivity)
    assert cldice(truth, prediction) == pytest.approx(expected)
    assert cldice(prediction, truth) == pytest.approx(expected)


def test_bad_masks():
    with pytest.raises(InputError, match="they must be equal"):
        cldice(EMPTY, EMPTY[1:])
    with pytest.raises(InputError, match=r"\(height, width\)"):
        cldice(EMPTY[0], EMPTY[0])


def test_a_missing_library_is_told_before_anything_is_measured(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "skimage", None)
    with pytest.raises(InputError, match=r'The metric cldice needs skimage.*\[metrics\]"'):
        checked_metrics(["dice", "cldice"])
    assert checked_metrics(["dice", "nsd"]) == ("dice", "nsd")
