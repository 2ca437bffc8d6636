import math

import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.surface_dice import nsd, parse_tolerance, tolerances_by_target

EMPTY, FULL = np.zeros((7, 9), bool), np.ones((7, 9), bool)


def surface_points(mask, spacing):
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~inside) * spacing


def brute_force(truth, prediction, tolerance, spacing):
    first, second = surface_points(truth, spacing), surface_points(prediction, spacing)
    distances = np.linalg.norm(first[:, None] - second[None], axis=-1)
    near = (distances.min(axis=1) <= tolerance).sum() + (distances.min(axis=0) <= tolerance).sum()
    return near / (len(first) + len(second))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("density", [0.02, 0.4, 0.9])
@pytest.mark.parametrize("spacing", [None, (1.0, 1.0), (0.7, 1.9)])
def test_equals_brute_force(seed, density, spacing):
    """MONAI's compute_surface_dice gives the same, to float32."""
    rng = np.random.default_rng(seed)
    truth, prediction = rng.random((2, 21, 26)) < density
    truth[5, 7] = prediction[17, 2] = True
    for tolerance in (0, 0.9, 1.3, 2, 4.5):
        said = tolerance if spacing is None else f"{tolerance}mm"
        expected = brute_force(truth, prediction, tolerance, spacing or (1, 1))
        assert nsd(truth, prediction, tolerance=said, spacing=spacing) == pytest.approx(expected)


def test_squares_by_hand():
    truth, prediction = np.zeros((30, 30)), np.zeros((30, 30))
    truth[5:15, 5:15] = 1
    prediction[5:15, 8:18] = 1
    # Of 36 pixels each, 20 are on the other outline's upper and lower edges, less 3 at both ends.
    assert nsd(truth, prediction, tolerance=0) == pytest.approx(28 / 72)
    assert nsd(truth, prediction, tolerance=3) == 1
    assert nsd(truth, prediction) == nsd(truth, prediction, tolerance="2px")


@pytest.mark.parametrize(
    ("truth", "prediction", "value"),
    [(EMPTY, EMPTY, 1), (FULL, EMPTY, 0), (EMPTY, FULL, 0), (FULL, FULL, 1)],
)
def test_empty_masks(truth, prediction, value):
    assert nsd(truth, prediction, tolerance=0) == value
    assert nsd(truth * 255, prediction * 255, tolerance="1mm", spacing=(0.1, 0.1)) == value


def test_millimetres_need_a_spacing_and_pixels_ignore_it():
    assert math.isnan(nsd(FULL, FULL, tolerance="1mm"))
    line = np.zeros((9, 9))
    line[4] = 1
    assert nsd(line, np.roll(line, 1, 0), tolerance=1, spacing=(50, 50)) == 1


def test_a_distance_that_equals_the_tolerance_counts_in_spite_of_rounding():
    truth, prediction = np.zeros((3, 20)), np.zeros((3, 20))
    truth[1, 2] = prediction[1, 5] = 1
    assert nsd(truth, prediction, tolerance="0.3mm", spacing=(0.1, 0.1)) == 1
    assert nsd(truth, prediction, tolerance="0.29mm", spacing=(0.1, 0.1)) == 0


@pytest.mark.parametrize(
    ("tolerance", "expected"),
    [
        (2, (2.0, "px")),
        (np.float32(0.5), (0.5, "px")),
        ("3", (3.0, "px")),
        (" 1.5 mm ", (1.5, "mm")),
        ("0px", (0.0, "px")),
    ],
)
def test_tolerances(tolerance, expected):
    assert parse_tolerance(tolerance) == expected


@pytest.mark.parametrize(
    "tolerance", [-1, "two", "2cm", "", "mm", None, True, [2], float("nan"), "inf"]
)
def test_tolerances_that_are_none(tolerance):
    with pytest.raises(InputError, match="expected a distance of 0 or more in pixels"):
        parse_tolerance(tolerance)


def test_tolerances_by_target():
    targets = ("vessels", "optic_disc")
    assert tolerances_by_target(None, targets) == {"vessels": "2px", "optic_disc": "2px"}
    assert tolerances_by_target("0.5mm", targets) == dict.fromkeys(targets, "0.5mm")
    found = tolerances_by_target({"optic_disc": "1mm"}, targets)
    assert found == {"vessels": "2px", "optic_disc": "1mm"}
    with pytest.raises(InputError, match=r"'vessel'; did you mean .*vessels, optic_disc"):
        tolerances_by_target({"vessel": 1}, targets)


def test_bad_masks_and_spacings():
    with pytest.raises(InputError, match=r"shape \(6, 9\) for a true mask of shape \(7, 9\)"):
        nsd(FULL, FULL[1:])
    with pytest.raises(InputError, match=r"\(height, width\)"):
        nsd(FULL[0], FULL[0])
    for spacing in ((0, 1), (1,), (1, np.nan), 3):
        with pytest.raises(InputError, match="expected the height and the width of a pixel"):
            nsd(FULL, FULL, spacing=spacing)
