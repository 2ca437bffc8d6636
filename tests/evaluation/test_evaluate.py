import dataclasses
import re

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data.index import Record
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.evaluate import evaluate


class FakeSegmenter:
    """Says that everything brighter than half is foreground; notes how it was called."""

    modalities = ("xray", "fundus")

    def __init__(self):
        self.calls = []

    def segment(self, images, modalities, threshold=0.5, batch_size=8, mirror=False):
        self.calls.append((len(images), list(modalities), threshold, batch_size))
        probabilities = [image.astype(np.float32) / 255 for image in images]
        return {"masks": [p >= threshold for p in probabilities], "probabilities": probabilities}


@pytest.fixture
def make_record(tmp_path):
    def make(dataset, image, mask, split="test", modality="xray", exif=None):
        number = len(list(tmp_path.iterdir()))
        paths = tmp_path / f"{number}.png", tmp_path / f"{number}_mask.png"
        extra = {"exif": exif} if exif else {}
        Image.fromarray(np.asarray(image, np.uint8)).save(paths[0], **extra)
        Image.fromarray(np.asarray(mask, np.uint8)).save(paths[1])
        return Record(split, modality, dataset, *paths)

    return make


HALF = np.repeat([[255, 255, 0, 0]], 3, axis=0)
QUARTER = np.repeat([[255, 0, 0, 0]], 3, axis=0)


def test_report(make_record):
    records = [
        make_record("a", HALF, HALF),
        make_record("a", HALF, QUARTER),
        make_record("b", np.zeros((5, 5)), np.zeros((5, 5)), modality="fundus"),
    ]
    report = evaluate(FakeSegmenter(), records, batch_size=2, preset="tiny")
    assert report["preset"] == "tiny"
    assert report["backend"] in ("tensorflow", "jax", "torch")
    assert set(report) == {"preset", "backend", "datasets"}
    assert list(report["datasets"]) == ["a", "b"]
    a = report["datasets"]["a"]
    assert (a["split"], a["modality"], a["n"]) == ("test", "xray", 2)
    assert a["dice"] == {"mean": pytest.approx((1 + 2 / 3) / 2), "std": pytest.approx(1 / 6)}
    assert a["iou"]["mean"] == pytest.approx(0.75)
    assert a["precision"]["mean"] == pytest.approx(0.75)
    assert a["recall"] == {"mean": 1, "std": 0}
    assert a["hd95"]["mean"] == pytest.approx(0.5)
    assert report["datasets"]["b"]["dice"] == {"mean": 1, "std": 0}


def test_a_report_of_mirrored_images_says_so(make_record):
    report = evaluate(FakeSegmenter(), [make_record("a", HALF, HALF)], mirror=True)
    assert report["mirror"] is True


def test_several_splits_of_a_data_set_are_kept_apart(make_record):
    records = [
        make_record("a", HALF, HALF, split="test"),
        make_record("a", HALF, QUARTER, split="unseen"),
        make_record("b", HALF, HALF, split="test"),
    ]
    datasets = evaluate(FakeSegmenter(), records)["datasets"]
    assert set(datasets) == {"a/test", "a/unseen", "b"}
    assert datasets["a/unseen"]["dice"]["mean"] == pytest.approx(2 / 3)
    assert datasets["a/unseen"]["split"] == "unseen"


def test_batches_and_progress(make_record):
    records = [make_record("a", HALF, HALF) for _ in range(5)]
    segmenter, done = FakeSegmenter(), []
    evaluate(segmenter, records, batch_size=2, threshold=0.25, progress=done.append)
    assert [call[0] for call in segmenter.calls] == [2, 2, 1]
    assert {call[2:] for call in segmenter.calls} == {(0.25, 2)}
    assert done == [2, 2, 1]


def test_paper_metrics(make_record):
    report = evaluate(FakeSegmenter(), [make_record("a", HALF, HALF)], paper_metrics=True)
    assert report["metrics"] == "paper"
    a = report["datasets"]["a"]
    assert set(a) - {"split", "modality", "n"} == {
        *("dice", "iou", "accuracy", "precision", "recall", "f1", "hausdorff")
    }
    assert a["accuracy"]["mean"] > 0.98


def test_a_turned_photograph_is_compared_as_stored(make_record):
    exif = Image.Exif()
    exif[0x0112] = 6
    record = make_record("a", HALF, HALF, exif=exif)
    assert evaluate(FakeSegmenter(), [record])["datasets"]["a"]["dice"]["mean"] == 1


def test_unknown_modality_names_the_known_ones(make_record):
    record = make_record("a", HALF, HALF, modality="mri")
    with pytest.raises(InputError, match=r"modality mri.*it has xray, fundus"):
        evaluate(FakeSegmenter(), [record])


def test_sizes_are_checked_before_anything_is_segmented(make_record):
    records = [make_record("a", HALF, HALF), make_record("a", HALF, HALF[:2])]
    segmenter, told = FakeSegmenter(), []

    def on_failure(record, reason):
        told.append((record.image, reason, len(segmenter.calls)))

    report = evaluate(segmenter, records, batch_size=1, on_failure=on_failure)
    (failure,) = report["failed"]
    assert re.search(r"has 4 x 3 pixels and its mask .* 4 x 2", failure["reason"])
    assert told == [(records[1].image, failure["reason"], 0)]
    assert report["datasets"]["a"]["n"] == 1
    with pytest.raises(InputError, match=r"has 4 x 3 pixels and its mask .* 4 x 2"):
        evaluate(segmenter, records[1:], batch_size=1)


def test_a_file_of_several_pictures_is_several(tmp_path, make_record):
    for name, pages in (("scan.tif", (HALF, HALF, HALF)), ("mask.tif", (HALF, QUARTER, HALF))):
        first, *others = (Image.fromarray(page.astype("uint8")) for page in pages)
        first.save(tmp_path / name, save_all=True, append_images=others)
    scan = Record("test", "xray", "a", tmp_path / "scan.tif", tmp_path / "mask.tif")
    segmenter, done = FakeSegmenter(), []
    records = [make_record("a", HALF, HALF), scan, dataclasses.replace(scan, index=1)]
    report = evaluate(segmenter, records, batch_size=2, progress=done.append)["datasets"]["a"]
    assert report["n"] == 5
    assert report["dice"]["mean"] == pytest.approx((3 + 2 * 2 / 3) / 5)
    assert [call[0] for call in segmenter.calls] == [2, 2, 1]
    assert done == [1, 1, 1]


def test_each_image_is_handed_out_with_its_probabilities(make_record):
    found = []
    records = [make_record("a", HALF, HALF), make_record("b", HALF, QUARTER)]
    evaluate(FakeSegmenter(), records, each=lambda *one: found.append(one))
    assert [(r.image, r.index) for r, *_ in found] == [(r.image, 0) for r in records]
    for _, truth, probabilities, _ in found:
        np.testing.assert_array_equal(probabilities, HALF / np.float32(255))
        assert truth.shape == HALF.shape
    assert [measures["dice"] for *_, measures in found] == [1.0, pytest.approx(2 / 3)]


def test_a_record_without_a_mask_is_told(make_record):
    record = dataclasses.replace(make_record("a", HALF, HALF), mask=None)
    with pytest.raises(InputError, match="without a mask"):
        evaluate(FakeSegmenter(), [record])


def test_no_records():
    with pytest.raises(InputError, match="no images"):
        evaluate(FakeSegmenter(), [])
