import json

import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.instance_metrics import (
    INSTANCE_METRICS,
    ObjectMatches,
    instance_measures,
    match_objects,
    object_scores,
    pooled_measures,
    summarise_instances,
)

EMPTY = np.zeros((6, 8), int)


def boxes(*corners, shape=(6, 8)):
    """A label image of boxes `(top, left, bottom, right)`, numbered from 1."""
    labels = np.zeros(shape, int)
    for number, (top, left, bottom, right) in enumerate(corners, start=1):
        labels[top:bottom, left:right] = number
    return labels


def some_objects(seed, size=40):
    """Discs, and discs that are moved, lost, merged or cut in two; scores with ties."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((size, size), int)
    rows, columns = np.ogrid[:size, :size]
    for number in range(1, rng.integers(1, 9)):
        y, x, radius = rng.integers(0, size), rng.integers(0, size), rng.integers(2, 8)
        truth[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = number
    found = np.roll(truth, rng.integers(-2, 3, 2), (0, 1))
    for number in np.unique(truth)[1:]:
        chance = rng.random()
        if chance < 0.2:
            found[found == number] = 0
        elif chance < 0.4:
            found[found == number] = rng.choice(np.unique(truth)[1:])
        elif chance < 0.6:
            found[(found == number) & (columns % 20 < 10)] = number + 100
    found[:3, :3] = 999
    return truth, found, np.round(rng.random(len(np.unique(found[found > 0]))), 1)


def test_objects_by_hand():
    # Three true objects of 8, 6 and 4 pixels; the first is found but for 2 pixels, the second by a
    # half that is too small, the third not at all, and one is found where there is none.
    truth = boxes((0, 0, 2, 4), (3, 0, 5, 3), (0, 6, 2, 8))
    found = boxes((0, 0, 2, 3), (3, 0, 4, 2), (4, 6, 6, 8))
    measures = instance_measures(truth, found, [0.9, 0.8, 0.7])
    assert list(measures) == list(INSTANCE_METRICS)
    assert measures == {
        "true_objects": 3,
        "predicted_objects": 3,
        "count_error": 0,
        # One hit of overlap 0.75 comes first: precision 1 up to recall 1/3, 34 of 101 recalls.
        "ap": pytest.approx(6 / 10 * 34 / 101),
        "ap50": pytest.approx(34 / 101),
        "ap75": pytest.approx(34 / 101),
        "pq": pytest.approx(0.75 / 3),
        "sq": pytest.approx(0.75),
        "rq": pytest.approx(1 / 3),
        # Best overlaps 6 / 8 and 2 / 6; 4 pixels of the missed and 4 of the false object.
        "aji": pytest.approx((6 + 2) / (8 + 6 + 4 + 4)),
        "dsb": pytest.approx(6 / 10 * 1 / 5),
        "dsb50": pytest.approx(1 / 5),
    }


@pytest.mark.parametrize(
    ("truth", "found", "value", "objects"),
    [
        (EMPTY, EMPTY, 1, (0, 0)),
        (boxes((0, 0, 2, 2)), EMPTY, 0, (1, 0)),
        (EMPTY, boxes((0, 0, 2, 2)), 0, (0, 1)),
        (boxes((0, 0, 2, 2)), boxes((0, 0, 2, 2)), 1, (1, 1)),
        (np.ones((6, 8), int), np.full((6, 8), 7), 1, (1, 1)),
        (np.zeros((0, 0), int), np.zeros((0, 0), int), 1, (0, 0)),
    ],
)
def test_of_nothing_and_of_one_object(truth, found, value, objects):
    measures = instance_measures(truth, found)
    counts = measures["true_objects"], measures["predicted_objects"]
    assert counts == objects and measures["count_error"] == abs(objects[0] - objects[1])
    assert [measures[name] for name in INSTANCE_METRICS[3:]] == [value] * 9


def test_touching_objects_that_are_one_in_the_prediction():
    truth = boxes((0, 0, 4, 4), (0, 4, 4, 8))
    merged = boxes((0, 0, 4, 8))
    measures = instance_measures(truth, merged)
    # The overlap with either is exactly a half: enough for AP at 0.5, and too little for PQ.
    assert measures["ap50"] == pytest.approx(51 / 101)
    assert measures["dsb50"] == pytest.approx(1 / 2)
    assert (measures["pq"], measures["sq"], measures["rq"]) == (0, 0, 0)
    # It is the best of both, and counts twice.
    assert measures["aji"] == pytest.approx((16 + 16) / (32 + 32))
    split = instance_measures(merged, truth, [0.2, 0.9])
    assert split["ap50"] == pytest.approx(1)  # The surer half is the object, the other comes later.
    assert split["count_error"] == 1
    assert split["aji"] == pytest.approx(16 / (32 + 16))


def test_a_higher_score_comes_first_at_half_an_overlap():
    truth, halves = boxes((0, 0, 4, 8)), boxes((0, 0, 4, 4), (0, 4, 4, 8))
    assert match_objects(truth, halves, [0.2, 0.9]).ious == (0, 0.5)
    assert match_objects(truth, halves, [0.9, 0.2]).ious == (0.5, 0)
    assert match_objects(truth, halves).ious == (0.5, 0)


def test_average_precision_by_hand():
    # By score: hit, miss, hit, of four objects: precision 1 up to recall 1/4, then 2/3 to 1/2.
    images = [ObjectMatches((0.9, 0.5, 0.7), (0.99, 0.99, 0.0), 4, 0, 1)]
    measures = pooled_measures(images)
    expected = (26 + 25 * 2 / 3) / 101
    assert measures["ap"] == measures["ap50"] == pytest.approx(expected)


def test_an_overlap_reaches_a_threshold_that_it_equals():
    # 11 of 20 pixels: 0.55 is reached, 0.6 is not.
    truth, found = np.ones((1, 20), int), np.repeat([[1, 0]], [11, 9], axis=1)
    assert instance_measures(truth, found)["dsb"] == pytest.approx(2 / 10)


def test_all_images_together_are_as_one_image():
    pairs = [some_objects(seed) for seed in range(4)]
    images = [match_objects(*pair) for pair in pairs]
    truth = np.concatenate([np.where(t, t + 1000 * i, 0) for i, (t, *_) in enumerate(pairs)])
    found = np.concatenate([np.where(p, p + 1000 * i, 0) for i, (_, p, _) in enumerate(pairs)])
    scores = np.concatenate([scores for *_, scores in pairs])
    assert pooled_measures(images) == pytest.approx(instance_measures(truth, found, scores))
    summary = summarise_instances(images)
    each = [instance_measures(*pair) for pair in pairs]
    for name in INSTANCE_METRICS:
        values = [one[name] for one in each]
        assert summary[name]["mean"] == pytest.approx(np.mean(values))
        assert summary[name]["std"] == pytest.approx(np.std(values))
        assert summary[name]["pooled"] == pooled_measures(images)[name]
    assert summary["pq"]["pooled"] != pytest.approx(summary["pq"]["mean"])


def brute_force(truth, found):
    """PQ, SQ, RQ and AJI object by object, as the papers write them."""
    true = [truth == i for i in np.unique(truth) if i]
    predicted = [found == i for i in np.unique(found) if i]
    ious = np.array([[(t & p).sum() / (t | p).sum() for p in predicted] for t in true])
    hits = ious[ious > 0.5]
    rq = len(hits) / (len(hits) + (len(predicted) - len(hits)) / 2 + (len(true) - len(hits)) / 2)
    sq = hits.mean() if len(hits) else 0
    above, below, used = 0, 0, set()
    for t, row in zip(true, ious, strict=True):
        if not row.any():
            below += t.sum()
            continue
        best = int(np.argmax(row))
        above += (t & predicted[best]).sum()
        below += (t | predicted[best]).sum()
        used.add(best)
    below += sum(p.sum() for j, p in enumerate(predicted) if j not in used)
    return sq * rq, sq, rq, above / below


@pytest.mark.parametrize("seed", range(12))
def test_equals_what_the_papers_write(seed):
    truth, found, scores = some_objects(seed + 50)
    truth[0, -1] = 77  # At least one object.
    measures = instance_measures(truth, found, scores)
    expected = brute_force(truth, found)
    assert [measures[name] for name in ("pq", "sq", "rq", "aji")] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_equals_cocos_own_code(seed):
    """The code of the authors; faster-coco-eval 1.8 gives the same to the last bit but one."""
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is in the group `test`")
    from pycocotools import mask
    from pycocotools.cocoeval import COCOeval

    pairs = [some_objects(10 * seed + k) for k in range(3)]
    true, predicted = [], []
    for image, (truth, found, scores) in enumerate(pairs, start=1):
        truth[0, -1] = 77
        common = {"image_id": image, "category_id": 1}
        for label in np.unique(truth[truth > 0]):
            code = mask.encode(np.asfortranarray(truth == label, np.uint8))
            one = {"segmentation": code, "area": 1, "iscrowd": 0, "id": len(true) + 1}
            true.append({**common, **one})
        for label, score in zip(np.unique(found[found > 0]), scores, strict=True):
            code = mask.encode(np.asfortranarray(found == label, np.uint8))
            predicted.append({**common, "segmentation": code, "score": score})
    data = coco.COCO()
    images = [{"id": image, "height": 40, "width": 40} for image in (1, 2, 3)]
    data.dataset = {"images": images, "annotations": true, "categories": [{"id": 1}], "info": {}}
    data.createIndex()
    run = COCOeval(data, data.loadRes(predicted), "segm")
    run.params.maxDets = [1, 10, 1000]
    run.evaluate()
    run.accumulate()
    precision = run.eval["precision"][:, :, 0, 0, -1].mean(axis=1)
    measures = pooled_measures([match_objects(*pair) for pair in pairs])
    assert measures["ap"] == pytest.approx(precision.mean(), abs=1e-12)
    assert measures["ap50"] == pytest.approx(precision[0], abs=1e-12)
    assert measures["ap75"] == pytest.approx(precision[5], abs=1e-12)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint32", "int64", ">u2"])
def test_labels_of_any_integer_type_and_any_numbers(dtype):
    truth = boxes((0, 0, 2, 4), (3, 0, 5, 3)).astype(dtype)
    found = (boxes((3, 0, 5, 3), (0, 0, 2, 3)) * 100).astype(dtype)
    measures = instance_measures(truth, found)
    assert (measures["sq"], measures["rq"]) == (pytest.approx((1 + 0.75) / 2), 1)
    assert instance_measures(truth[::-1, ::-1], found[::-1, ::-1]) == measures


def test_scores_are_mean_probabilities_in_the_order_of_the_labels():
    labels = np.array([[0, 9, 9, 2], [0, 0, 9, 2]], np.uint16)
    probabilities = np.array([[1, 0.9, 0.6, 0.2], [1, 1, 0.9, 0.4]], np.float32)
    np.testing.assert_allclose(object_scores(labels, probabilities), [0.3, 0.8], rtol=1e-6)
    assert object_scores(labels * 0, probabilities).shape == (0,)


def test_matches_survive_a_log():
    matches = match_objects(*some_objects(3))
    assert ObjectMatches(*json.loads(json.dumps([*vars(matches).values()]))) == matches


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((EMPTY, EMPTY[1:]), r"shape \(5, 8\) for true ones of shape \(6, 8\)"),
        ((EMPTY.astype(bool), EMPTY), "truth=an array of shape .* a label image"),
        ((EMPTY, EMPTY.astype(float)), "prediction=an array of shape .* a label image"),
        ((EMPTY[None], EMPTY[None]), "a label image: integers .height, width"),
        ((EMPTY, EMPTY - 1), "prediction with the label -1"),
        ((EMPTY, boxes((0, 0, 2, 2)), [0.5, 0.5]), "for 1 predicted objects; expected one finite"),
        ((EMPTY, boxes((0, 0, 2, 2)), [np.nan]), "expected one finite number per object"),
    ],
)
def test_bad_input_is_one_sentence(arguments, words):
    with pytest.raises(InputError, match=words):
        match_objects(*arguments)
    with pytest.raises(InputError, match="no images"):
        summarise_instances([])
