import dataclasses
import re
import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image

from keras_espmedsam import registries
from keras_espmedsam.data.index import Record
from keras_espmedsam.errors import InputError, InputWarning
from keras_espmedsam.evaluation.evaluate import evaluate
from keras_espmedsam.evaluation.measurement_log import read_log

pytestmark = pytest.mark.filterwarnings("ignore:.*images could not be measured")


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
    assert set(report) == {"preset", "backend", "datasets", "means"}
    assert report["means"]["test"]["xray"]["dice"] == report["datasets"]["a"]["dice"]["mean"]
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


def test_a_file_of_several_images_is_several(tmp_path, make_record):
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


class PickySegmenter(FakeSegmenter):
    """Refuses a batch that holds an image of its unlucky width, with the error it is given."""

    def __init__(self, error, width=7):
        super().__init__()
        self.error, self.width = error, width

    def segment(self, images, *arguments, **options):
        results = super().segment(images, *arguments, **options)
        if any(image.shape[1] == self.width for image in images):
            raise self.error
        return results


WIDE = np.full((3, 7), 255)


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def noise(seed, size=(9, 12)):
    return np.random.default_rng(seed).integers(0, 256, size)


def noisy(make_record, count, dataset="a"):
    """Records whose masks are noise, so that every measure has many digits."""
    return [
        make_record(dataset, noise(i), np.where(noise(100 + i) > 99, 255, 0)) for i in range(count)
    ]


@pytest.mark.parametrize("batch_size", [1, 4, 20])
@pytest.mark.parametrize("bad", [(0, 1, 2, 3), (5,), (4, 5, 7), (11,)])
def test_bad_files_cost_themselves_alone(make_record, bad, batch_size):
    records = noisy(make_record, 12)
    sound = [record for i, record in enumerate(records) if i not in bad]
    expected = evaluate(FakeSegmenter(), sound, per_image=True)
    for i in bad:
        cut(records[i].image if i % 2 else records[i].mask)
    told, done = [], []
    report = evaluate(
        FakeSegmenter(),
        records,
        batch_size,
        per_image=True,
        progress=done.append,
        on_failure=lambda record, reason: told.append((record.image, reason)),
    )
    failed = report.pop("failed")
    assert report == expected
    assert [one["image"] for one in failed] == [str(records[i].image) for i in bad]
    for one, i in zip(failed, bad, strict=True):
        assert (one["dataset"], one["split"], one["index"], one["count"]) == ("a", "test", 0, 1)
        assert str(records[i].image if i % 2 else records[i].mask) in one["reason"]
    assert told == [(records[i].image, failed[k]["reason"]) for k, i in enumerate(bad)]
    assert sum(done) == 12


def test_without_a_callback_a_warning_tells(make_record):
    records = noisy(make_record, 4)
    cut(records[2].image)
    with pytest.warns(InputWarning, match=r"^1 of 4 images could not .* cut short"):
        evaluate(FakeSegmenter(), records)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(FakeSegmenter(), records, on_failure=lambda *one: None)
        evaluate(FakeSegmenter(), records[:2])


def test_every_file_bad_is_one_sentence(make_record):
    records = noisy(make_record, 7)
    for record in records:
        cut(record.image)
    with pytest.raises(InputError, match=r"^No image can be measured\. .*And 2 more\.$"):
        evaluate(FakeSegmenter(), records, batch_size=2)


def test_a_label_map_and_a_file_that_vanishes_are_named(make_record):
    records = noisy(make_record, 3)
    records.insert(0, make_record("a", HALF, [[0, 1, 2, 3]] * 3))

    def each(record, *rest):
        records[3].image.unlink(missing_ok=True)  # while the run is going on

    report = evaluate(FakeSegmenter(), records, batch_size=2, each=each)
    assert [one["image"] for one in report["failed"]] == [
        str(records[0].image),
        str(records[3].image),
    ]
    assert "different values" in report["failed"][0]["reason"]
    assert "does not exist" in report["failed"][1]["reason"]
    assert report["datasets"]["a"]["n"] == 2


def test_of_a_damaged_file_of_several_the_readable_ones_are_measured(tmp_path, make_record):
    pages = [Image.fromarray(noise(i, (40, 50)).astype("uint8")) for i in range(3)]
    for name in ("scan.tif", "mask.tif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    Image.fromarray(np.full((40, 50), 255, "uint8")).save(
        tmp_path / "mask.tif",
        save_all=True,
        append_images=[Image.fromarray(np.zeros((40, 50), "uint8"))] * 2,
    )
    scan = tmp_path / "scan.tif"
    with tifffile.TiffFile(scan) as tiff:
        tag = tiff.pages[1].tags["StripOffsets"]
        place = tag.valueoffset if tag.count > 1 else tag.offset + 8
    data = bytearray(scan.read_bytes())
    data[place : place + 4] = (2**31 - 1).to_bytes(4, "little")  # behind the file's end
    scan.write_bytes(bytes(data))
    records = [
        Record("test", "xray", "a", scan, tmp_path / "mask.tif"),
        make_record("a", HALF, HALF),
    ]
    for batch_size in (1, 2, 8):
        report = evaluate(FakeSegmenter(), records, batch_size, per_image=True)
        (failure,) = report["failed"]
        assert (failure["index"], failure["count"]) == (1, 2)
        assert "2 images of the file are not measured" in failure["reason"]
        assert [(row["image"], row["index"]) for row in report["images"]] == [
            (str(scan), 0),
            (str(records[1].image), 0),
        ]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (InputError("Received bad luck."), "Received bad luck."),
        (MemoryError("no room\nfor 7"), "cannot be segmented (MemoryError: no room)."),
        (RuntimeError(), "cannot be segmented (RuntimeError: no reason given)."),
    ],
)
def test_an_image_that_the_segmenter_refuses_does_not_cost_its_batch(make_record, error, sentence):
    records = [make_record("a", HALF, HALF) for _ in range(5)]
    records.insert(1, make_record("b", WIDE, WIDE))
    records.insert(3, make_record("b", WIDE, WIDE))
    segmenter = PickySegmenter(error)
    report = evaluate(segmenter, records, batch_size=4)
    assert report["datasets"]["a"]["n"] == 5
    assert report["datasets"]["b"]["n"] == 0
    assert report["datasets"]["b"]["hd95"] == {"mean": None, "std": None}
    assert [one["image"] for one in report["failed"]] == [
        str(records[1].image),
        str(records[3].image),
    ]
    assert all(sentence in one["reason"] for one in report["failed"])
    assert [call[0] for call in segmenter.calls] == [4, 1, 1, 1, 1, 3]


def test_a_segmenter_that_always_fails_is_given_up(make_record):
    segmenter = PickySegmenter(TypeError("unexpected keyword"), width=4)
    records = [make_record("a", HALF, HALF) for _ in range(12)]
    with pytest.raises(InputError, match=r"No image can be measured.*unexpected keyword"):
        evaluate(segmenter, records, batch_size=2)
    assert len(segmenter.calls) == 12  # four batches of two, each image by itself as well


def test_probabilities_that_are_no_numbers_are_no_empty_mask(make_record):
    class Broken(FakeSegmenter):
        def segment(self, images, *arguments, **options):
            results = super().segment(images, *arguments, **options)
            for image, values in zip(images, results["probabilities"], strict=True):
                values[image.shape[1] == 7 and ...] = np.nan
            return results

    records = [make_record("a", HALF, HALF), make_record("a", WIDE, WIDE)]
    report = evaluate(Broken(), records)
    assert report["datasets"]["a"]["n"] == 1
    assert "NaN or infinite" in report["failed"][0]["reason"]
    with pytest.raises(InputError, match="NaN or infinite"):
        evaluate(Broken(), records[1:])


def test_an_error_of_the_callers_own_is_raised(make_record):
    def each(*one):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        evaluate(FakeSegmenter(), [make_record("a", HALF, HALF)], each=each)


def test_per_image_measures(make_record):
    records = [make_record("a", HALF, QUARTER), make_record("b", HALF, HALF, modality="fundus")]
    rows = evaluate(FakeSegmenter(), records, per_image=True)["images"]
    assert [list(row) for row in rows] == [
        [*("dataset", "split", "modality", "image", "index"), *("dice", "iou", "precision")]
        + ["recall", "hd95"]
    ] * 2
    assert [(row["dataset"], row["modality"], row["image"]) for row in rows] == [
        ("a", "xray", str(records[0].image)),
        ("b", "fundus", str(records[1].image)),
    ]
    assert [row["dice"] for row in rows] == [pytest.approx(2 / 3), 1.0]


@pytest.mark.parametrize("names", [("hd95", "dice"), ("recall",), "iou"])
def test_metrics_are_chosen_and_in_order(make_record, names):
    records = [make_record("a", HALF, QUARTER), make_record("a", HALF, HALF)]
    whole = evaluate(FakeSegmenter(), records, per_image=True)
    report = evaluate(FakeSegmenter(), records, per_image=True, metrics=names)
    names = [names] if isinstance(names, str) else list(names)
    assert list(report["datasets"]["a"]) == ["split", "modality", "n", *names]
    for name in names:
        assert report["datasets"]["a"][name] == whole["datasets"]["a"][name]
    for row, before in zip(report["images"], whole["images"], strict=True):
        assert list(row)[5:] == names
        assert {name: row[name] for name in names} == {name: before[name] for name in names}


@pytest.fixture
def register():
    """Add metrics for one test."""
    names = []

    def add(name, function):
        registries.metrics.register(name, function)
        names.append(name)

    yield add
    for name in names:
        registries.metrics.unregister(name)


def test_an_undefined_metric_is_left_out_of_its_mean_and_counted(make_record, register):
    def true_area(truth, prediction):
        assert truth.dtype == prediction.dtype == bool and truth.shape == prediction.shape
        return truth.sum() if truth.any() else float("nan")

    register("true_area", true_area)
    empty = np.zeros((3, 4))
    records = [make_record("a", HALF, mask) for mask in (HALF, QUARTER, empty)]
    records.append(make_record("b", HALF, empty, modality="fundus"))
    report = evaluate(FakeSegmenter(), records, metrics=["true_area", "dice"])["datasets"]
    assert report["a"]["true_area"] == {"mean": 4.5, "std": 1.5, "dropped": 1}
    assert "dropped" not in report["a"]["dice"]
    assert report["b"]["true_area"] == {"mean": None, "std": None, "dropped": 1}


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda truth: 1.0, "TypeError"),
        (lambda truth, prediction: None, "TypeError"),
        (lambda truth, prediction: {}["spacing"], "KeyError"),
    ],
)
def test_a_metric_that_fails_is_no_images_fault(make_record, register, function, sentence):
    register("broken", function)
    records = [make_record("a", HALF, HALF) for _ in range(20)]
    segmenter = FakeSegmenter()
    with pytest.raises(InputError, match=f"the metric 'broken' failed .{sentence}"):
        evaluate(segmenter, records, batch_size=4, metrics=["dice", "broken"])
    assert len(segmenter.calls) < 20  # It is given up, not tried on each.


def test_metrics_that_cannot_be_taken_are_told_before_anything_is_read(register):
    register("n", lambda truth, prediction: 1.0)
    records = [Record("test", "xray", "a", "none.png", "none.png")]
    for metrics, words in (
        (
            ["dise"],
            "metric 'dise'; expected one of dice, iou, precision, recall, hd95, nsd, cldice",
        ),
        ([], "Received no metric; expected some of dice"),
        ([3], "metric 3; expected one of"),
        (["n"], "'n' has the same name as another column"),
        (["all"], "'n' has the same name as another column"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            evaluate(FakeSegmenter(), records, metrics=metrics)
    with pytest.raises(InputError, match="metrics with paper_metrics"):
        evaluate(FakeSegmenter(), records, metrics=["dice"], paper_metrics=True)


class Killed(BaseException):
    """What no `except Exception` stops: a kill, as far as Python can tell."""


@pytest.mark.parametrize(
    ("killed_at", "kept", "batches"),
    [
        (0, 0, [3, 3, 1, 1, 1, 3, 2]),
        (1, 3, [3, 1, 1, 1, 3, 2]),
        (4, 3, [3, 1, 1, 1, 3, 2]),
        # The image that was refused is tried once more; the other batches stay as they were.
        (5, 5, [1, 3, 2]),
        (6, 8, [1, 2]),
    ],
)
def test_a_killed_run_is_resumed(make_record, tmp_path, killed_at, kept, batches):
    records = noisy(make_record, 9)
    records[4:4] = [make_record("a", WIDE, WIDE)]
    records += [make_record("b", np.zeros((5, 5)), np.zeros((5, 5)))]
    options = {"batch_size": 3, "per_image": True}
    error = InputError("Received bad luck.")
    whole = PickySegmenter(error)
    expected = evaluate(whole, records, **options)
    log = tmp_path / "report.json.partial"

    class Mortal(PickySegmenter):
        def segment(self, images, *arguments, **kwargs):
            if len(self.calls) == killed_at:
                raise Killed
            return super().segment(images, *arguments, **kwargs)

    with pytest.raises(Killed):
        evaluate(Mortal(error), records, **options, log=log)
    before = read_log(log).measured
    resumed, done = PickySegmenter(error), []
    report = evaluate(resumed, records, **options, log=log, progress=done.append)
    assert report == expected
    assert [one["image"] for one in report["failed"]] == [str(records[4].image)]
    assert sum(done) == len(records)
    assert len(before) == kept
    assert [call[0] for call in resumed.calls] == batches
    again = PickySegmenter(error)
    assert evaluate(again, records, **options, log=log) == expected
    assert [call[0] for call in again.calls] == [1]


def test_a_distance_of_nan_is_kept(make_record, tmp_path):
    records = [make_record("a", np.zeros((5, 5)), np.zeros((5, 5))), make_record("a", HALF, HALF)]
    first, second = (
        evaluate(FakeSegmenter(), records, paper_metrics=True, per_image=True, log=tmp_path / "log")
        for _ in range(2)
    )
    assert repr(first) == repr(second)  # NaN is not equal to itself
    assert np.isnan(second["images"][0]["hausdorff"])
    assert second["datasets"]["a"]["hausdorff"]["dropped"] == 1


def test_other_settings_are_not_mixed(make_record, tmp_path):
    records, log = noisy(make_record, 3), tmp_path / "log"
    evaluate(FakeSegmenter(), records, log=log, preset="tiny")
    before = log.read_bytes()
    for options, words in (
        ({"threshold": 0.25}, r"threshold 0\.5 \(now 0\.25\)"),
        ({"mirror": True}, r"mirror False \(now True\)"),
        ({"paper_metrics": True}, r"paper_metrics False \(now True\)"),
        ({"preset": None}, r"preset tiny \(now none\)"),
    ):
        with pytest.raises(InputError, match=words):
            evaluate(FakeSegmenter(), records, log=log, **{"preset": "tiny", **options})
    with pytest.raises(InputError, match="measured with images"):
        evaluate(FakeSegmenter(), records[1:], log=log, preset="tiny")
    assert log.read_bytes() == before
    evaluate(FakeSegmenter(), records, batch_size=1, log=log, preset="tiny")


def test_other_metrics_are_not_mixed_and_the_default_ones_are_not_named(make_record, tmp_path):
    records = [make_record("a", HALF, HALF)]
    names = ["dice", "iou", "precision", "recall", "hd95"]
    evaluate(FakeSegmenter(), records, log=tmp_path / "five")
    assert "metrics" not in read_log(tmp_path / "five").settings  # As logs of version 0.1.0.
    segmenter = FakeSegmenter()
    evaluate(segmenter, records, log=tmp_path / "five", metrics=names)
    assert not segmenter.calls
    with pytest.raises(InputError, match=r"with metrics none \(now \['iou'\]\)"):
        evaluate(FakeSegmenter(), records, log=tmp_path / "five", metrics=["iou"])
    expected = evaluate(segmenter, records, log=tmp_path / "two", metrics=["iou", "dice"])
    calls = len(segmenter.calls)
    again = evaluate(segmenter, records, log=tmp_path / "two", metrics=["iou", "dice"])
    assert again == expected and list(again["datasets"]["a"])[3:] == ["iou", "dice"]
    assert len(segmenter.calls) == calls


def test_what_was_mended_or_changed_is_measured_again(make_record, tmp_path):
    records, log = noisy(make_record, 4), tmp_path / "log"
    sound = records[1].image.read_bytes()
    cut(records[1].image)
    report = evaluate(FakeSegmenter(), records, batch_size=2, log=log)
    assert report["datasets"]["a"]["n"] == 3
    records[1].image.write_bytes(sound)
    Image.fromarray(np.full((9, 12), 255, "uint8")).save(records[3].mask)
    segmenter = FakeSegmenter()
    report = evaluate(segmenter, records, batch_size=2, log=log, per_image=True)
    assert [call[0] for call in segmenter.calls] == [2]
    assert report == evaluate(FakeSegmenter(), records, per_image=True)
    cut(records[0].mask)  # measured before, and refused now
    report = evaluate(segmenter, records, log=log, per_image=True)
    assert report["datasets"]["a"]["n"] == 3
    assert [row["image"] for row in report["images"]] == [str(r.image) for r in records[1:]]


def test_pages_are_resumed_within_a_file(tmp_path):
    pages = [Image.fromarray(noise(i).astype("uint8")) for i in range(5)]
    masks = [Image.fromarray(np.where(noise(9 + i) > 99, 255, 0).astype("uint8")) for i in range(5)]
    for name, images in (("scan.tif", pages), ("mask.tif", masks)):
        images[0].save(tmp_path / name, save_all=True, append_images=images[1:])
    record = Record("test", "xray", "a", tmp_path / "scan.tif", tmp_path / "mask.tif")
    log = tmp_path / "log"
    expected = evaluate(FakeSegmenter(), [record], batch_size=2, log=log, per_image=True)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:2]) + lines[2][:-9])  # killed while writing
    segmenter, done = FakeSegmenter(), []
    report = evaluate(
        segmenter, [record], batch_size=2, log=log, per_image=True, progress=done.append
    )
    assert report == expected
    assert [call[0] for call in segmenter.calls] == [2, 1]
    assert sum(done) == 1
    assert log.read_bytes() == b"".join(lines)


def test_the_papers_measures_need_probabilities(make_record):
    class Masks(FakeSegmenter):
        def segment(self, images, *arguments, **options):
            return {"masks": super().segment(images, *arguments, **options)["masks"]}

    records = [make_record("a", HALF, HALF)]
    with pytest.raises(InputError, match="no probabilities"):
        evaluate(Masks(), records, paper_metrics=True)
    found = []
    report = evaluate(Masks(), records, each=lambda *one: found.append(one[2]))
    assert report["datasets"]["a"]["n"] == 1
    assert found == [None]
