import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation import metrics as measures
from keras_espmedsam.evaluation.paper_metrics import paper_image_measures, summarise_paper

EMPTY, FULL = np.zeros((3, 4), bool), np.ones((3, 4), bool)


def brute_force_surface(mask):
    height, width = mask.shape
    points = []
    for y in range(height):
        for x in range(width):
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            edge = any(
                not (0 <= v < height and 0 <= u < width) or not mask[v, u] for v, u in around
            )
            if mask[y, x] and edge:
                points.append((y, x))
    return np.array(points, float)


def brute_force_distance(truth, prediction, percentile):
    first, second = brute_force_surface(truth), brute_force_surface(prediction)
    distances = np.linalg.norm(first[:, None] - second[None], axis=-1)
    return max(
        np.percentile(distances.min(axis=1), percentile),
        np.percentile(distances.min(axis=0), percentile),
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("density", [0.02, 0.3, 0.8])
@pytest.mark.parametrize("percentile", [95, 100])
def test_hausdorff_equals_brute_force(seed, density, percentile):
    rng = np.random.default_rng(seed)
    truth = rng.random((23, 31)) < density
    prediction = rng.random((23, 31)) < density
    truth[5, 7] = prediction[17, 2] = True
    expected = brute_force_distance(truth, prediction, percentile)
    assert measures.hausdorff_distance(truth, prediction, percentile) == pytest.approx(expected)


def test_hd95_of_shifted_squares():
    truth, prediction = np.zeros((60, 60)), np.zeros((60, 60))
    truth[10:30, 10:30] = 1
    prediction[10:30, 17:37] = 1
    # 76 surface pixels; the far side (20 of them) is 7 away, more than a twentieth of all.
    assert measures.hd95(truth, prediction) == 7


def test_hd95_ignores_a_speck_and_the_maximum_does_not():
    truth = np.zeros((100, 100))
    truth[20:60, 20:60] = 1
    prediction = truth.copy()
    prediction[90, 90] = 1
    assert measures.hd95(truth, prediction) == 0
    speck = np.hypot(90 - 59, 90 - 59)
    assert measures.hausdorff_distance(truth, prediction) == pytest.approx(speck)


def test_overlap_measures_by_hand():
    truth = np.array([[1, 1, 1, 0], [0, 0, 0, 0]])
    prediction = np.array([[0, 1, 1, 1], [1, 0, 0, 0]])
    assert measures.confusion(truth, prediction) == (2, 2, 1, 3)
    assert measures.dice(truth, prediction) == pytest.approx(4 / 7)
    assert measures.iou(truth, prediction) == pytest.approx(2 / 5)
    assert measures.precision(truth, prediction) == pytest.approx(2 / 4)
    assert measures.recall(truth, prediction) == pytest.approx(2 / 3)


def test_uint8_masks_do_not_overflow():
    mask = np.full((300, 300), 255, np.uint8)
    assert measures.image_measures(mask, mask) == {
        "dice": 1,
        "iou": 1,
        "precision": 1,
        "recall": 1,
        "hd95": 0,
    }


def test_some_measures_in_the_order_that_is_asked_for():
    truth, prediction = np.array([[1, 1, 0]]), np.array([[0, 1, 1]])
    whole = measures.image_measures(truth, prediction)
    assert list(whole) == list(measures.DEFAULT_METRICS)
    for names in (("hd95", "dice"), ("recall",), ("iou", "recall", "iou")):
        found = measures.image_measures(truth, prediction, names)
        assert list(found) == list(dict.fromkeys(names))
        assert found == {name: whole[name] for name in found}


@pytest.mark.parametrize(
    ("truth", "prediction", "overlap", "distance"),
    [(EMPTY, EMPTY, 1, 0), (FULL, EMPTY, 0, 5), (EMPTY, FULL, 0, 5), (FULL, FULL, 1, 0)],
)
def test_empty_masks(truth, prediction, overlap, distance):
    result = measures.image_measures(truth, prediction)
    assert result.pop("hd95") == distance  # 3 x 4 pixels have a diagonal of 5
    assert set(result.values()) == {overlap}


def test_one_pixel_images():
    assert measures.image_measures(np.ones((1, 1)), np.ones((1, 1)))["dice"] == 1
    assert measures.hd95(np.ones((1, 1)), np.zeros((1, 1))) == pytest.approx(np.sqrt(2))


def test_shapes_must_be_equal():
    with pytest.raises(InputError, match=r"shape \(2, 3\) for a true mask of shape \(3, 4\)"):
        measures.dice(EMPTY, np.zeros((2, 3)))
    with pytest.raises(InputError, match="height, width"):
        measures.hd95(np.ones(4), np.ones(4))


def test_paper_measures_by_hand():
    # Left half true, upper half predicted: a quarter each of tp, fp, fn and tn.
    truth, probabilities = np.zeros((2, 2)), np.zeros((2, 2))
    truth[:, 0] = 1
    probabilities[0] = 1
    big = np.ones((512, 512))
    result = paper_image_measures(np.kron(truth, big), np.kron(probabilities, big))
    quarter = 512 * 512
    assert result["dice"] == pytest.approx((2 * quarter + 1) / (4 * quarter + 1))
    assert result["iou"] == pytest.approx((quarter + 1) / (3 * quarter + 1))
    assert result["accuracy"] == result["precision"] == result["recall"] == 0.5
    assert result["hausdorff"] == 512


def test_paper_measures_are_taken_at_1024():
    truth = np.zeros((128, 256))
    truth[32:96, 64:128] = 1
    prediction = np.roll(truth, 16, axis=1)
    # 16 of 256 pixels are 64 of 1024.
    assert paper_image_measures(truth, prediction)["hausdorff"] == pytest.approx(64, abs=0.1)


def test_paper_smoothing_of_empty_masks():
    result = paper_image_measures(EMPTY, EMPTY.astype(float))
    assert result["dice"] == result["iou"] == result["accuracy"] == 1
    assert result["precision"] == result["recall"] == 0
    assert np.isnan(result["hausdorff"])
    missed = paper_image_measures(FULL, EMPTY.astype(float))
    assert missed["dice"] == pytest.approx(1 / (1024**2 + 1))


def test_a_paper_summary_of_no_image_is_refused():
    with pytest.raises(InputError, match="at least one image"):
        summarise_paper([])


def test_paper_summary():
    base = {"dice": 0.5, "iou": 0.4, "accuracy": 0.9}
    images = [
        {**base, "precision": 1.0, "recall": 0.2, "hausdorff": 10.0},
        {**base, "precision": 0.5, "recall": 0.4, "hausdorff": float("nan")},
        {**base, "precision": 0.3, "recall": 0.6, "hausdorff": 30.0},
    ]
    summary = summarise_paper(images)
    assert summary["precision"]["mean"] == pytest.approx(0.6)
    assert summary["f1"] == {"mean": pytest.approx(2 * 0.6 * 0.4 / (0.6 + 0.4)), "std": None}
    assert summary["hausdorff"] == {"mean": 20, "std": 10, "dropped": 1}
    assert summary["dice"] == {"mean": 0.5, "std": 0}


def test_paper_summary_without_any_distance():
    image = paper_image_measures(EMPTY, EMPTY.astype(float))
    summary = summarise_paper([image])
    assert summary["hausdorff"] == {"mean": None, "std": None, "dropped": 1}
    assert summary["f1"]["mean"] == 0


def test_all_metrics_and_their_options():
    truth, prediction = np.zeros((20, 20)), np.zeros((20, 20))
    truth[5:15, 5:15] = prediction[5:15, 8:18] = 1
    names = ["dice", "iou", "precision", "recall", "hd95", "nsd", "cldice"]
    found = measures.image_measures(truth, prediction, "all", tolerance="1mm", spacing=(0.5, 0.5))
    assert list(found) == names == list(measures.checked_metrics("all"))
    assert found["nsd"] == pytest.approx(44 / 72) and found["hd95"] == 3
    assert measures.image_measures(truth, prediction, ["nsd"], tolerance=3) == {"nsd": 1}
    assert np.isnan(measures.image_measures(truth, prediction, ["nsd"], tolerance="1mm")["nsd"])


def test_a_metric_gets_the_options_that_it_takes():
    def takes_spacing(truth, prediction, other=1, *, spacing, rest=2):
        pass

    given = {"spacing": (1, 2), "tolerance": "2px", "other": 3}
    assert measures.wanted_options(takes_spacing, given) == {"spacing": (1, 2)}
    assert measures.wanted_options(lambda truth, prediction, spacing=None: 0, given) == {}
    assert measures.wanted_options(min, given) == {}
