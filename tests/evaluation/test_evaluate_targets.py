"""Evaluating a segmenter of several targets, and of objects."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data.index import read_index
from keras_espmedsam.data.record import Record, TargetMask
from keras_espmedsam.data.targets import Targets
from keras_espmedsam.errors import InputError, InputWarning
from keras_espmedsam.evaluation.evaluate import evaluate
from keras_espmedsam.evaluation.instance_metrics import (
    INSTANCE_METRICS,
    instance_measures,
    match_objects,
    object_scores,
    summarise_instances,
)
from keras_espmedsam.evaluation.measurement_log import read_log
from keras_espmedsam.evaluation.metrics import DEFAULT_METRICS, image_measures

SIZE = (12, 16)
TARGETS = Targets(
    {
        "fundus": ("vessels", "optic_disc", "optic_cup"),
        "xray": ("mask",),
        "microscopy": ("nuclei",),
    },
    instances={"microscopy": {"nuclei": "boundary"}},
)


class FakeSegmenter:
    """Draws each target of an image where the bit of its channel is set in the red values."""

    modalities = ("fundus", "xray", "microscopy")
    target_set = TARGETS

    def __init__(self):
        self.calls = []

    def segment(self, images, modalities, threshold=0.5, batch_size=8, mirror=False, **options):
        self.calls.append((len(images), options))
        results = {name: [] for name in ("masks", "probabilities", "targets", "instances")}
        for image, modality in zip(images, modalities, strict=True):
            red = np.asarray(image)[..., 0]
            names = self.target_set.of(modality)
            masks = np.stack([red >> k & 1 for k in range(len(names))], axis=-1) > 0
            probabilities = np.where(masks, 0.75, 0.125).astype(np.float32)
            probabilities[::2] = np.where(masks, 0.875, 0.25)[::2]
            results["masks"].append(masks)
            results["probabilities"].append(probabilities)
            results["targets"].append(names)
            kinds = self.target_set.instances.get(modality, {})
            numbered = np.where(masks[..., 0], np.asarray(image)[..., 1], 0).astype(np.int32)
            results["instances"].append({name: numbered for name in kinds})
        return results


def masks_of(seed, count=3):
    return np.random.default_rng(seed).random((count, *SIZE)) < 0.4


def blocks(seed):
    """A label image of up to twelve blocks, some of them missing, some touching."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(1, 13).reshape(3, 4) * (rng.random((3, 4)) < 0.7)
    return np.kron(numbers, np.ones((4, 4), int))


@pytest.fixture
def save(tmp_path):
    """`save(array)`: the path of a new PNG."""

    def write(array):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.png"
        array = np.asarray(array)
        Image.fromarray(array.astype("uint16" if array.dtype == np.int64 else "uint8")).save(path)
        return path

    return write


@pytest.fixture
def make_record(save):
    """`make_record(modality, drawn, truths)`: the red bits are drawn, the truths are labelled."""

    def make(modality, drawn, truths, dataset="d", split="test", objects=None, instances=None):
        red = sum(mask.astype(int) << k for k, mask in enumerate(drawn))
        green = np.zeros(SIZE) if objects is None else objects
        image = save(np.stack([red, green, np.zeros(SIZE)], axis=-1).astype("uint8"))
        targets = tuple(
            TargetMask(name, save(255 * mask.astype("uint8")), (instances or {}).get(name))
            for name, mask in truths.items()
        )
        return Record(split, modality, dataset, image, targets=targets)

    return make


def eyes(make_record):
    """Three images: two with all or some targets labelled, one with the last alone."""
    drawn = [masks_of(seed) for seed in range(3)]
    truths = [masks_of(10 + seed) for seed in range(3)]
    names = ("vessels", "optic_disc", "optic_cup")
    labelled = [(0, 1, 2), (2, 0), (1,)]
    records = [
        make_record(
            "fundus",
            drawn[i],
            {names[k]: truths[i][k] for k in labelled[i]},
            dataset="d" if i < 2 else "e",
        )
        for i in range(3)
    ]
    expected = [
        (i, names[k], image_measures(truths[i][k], drawn[i][k]))
        for i in range(3)
        for k in labelled[i]
    ]
    return records, expected


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_each_labelled_target_is_measured_and_no_other(make_record, batch_size):
    records, expected = eyes(make_record)
    segmenter = FakeSegmenter()
    report = evaluate(segmenter, records, batch_size, per_image=True)
    rows = [(row["image"], row["target"], row["dice"], row["hd95"]) for row in report["images"]]
    assert rows == [(str(records[i].image), t, m["dice"], m["hd95"]) for i, t, m in expected]
    columns = ["dataset", "split", "modality", "target", "image", "index", *DEFAULT_METRICS]
    assert all(list(row) == columns for row in report["images"])
    datasets = report["datasets"]
    # In the order in which the records name them.
    assert list(datasets) == ["d:vessels", "d:optic_disc", "d:optic_cup", "e"]
    assert [datasets[name]["n"] for name in datasets] == [2, 1, 2, 1]
    assert datasets["e"]["target"] == "optic_disc"
    for name, target, images in (
        ("d:vessels", "vessels", (0, 1)),
        ("d:optic_cup", "optic_cup", (0, 1)),
        ("e", "optic_disc", (2,)),
    ):
        values = [m["iou"] for i, t, m in expected if t == target and i in images]
        assert datasets[name]["iou"]["mean"] == pytest.approx(np.mean(values))
    means = report["means"]["test"]["fundus"]
    assert means["targets"] == ["vessels", "optic_disc", "optic_cup"]
    disc = (datasets["d:optic_disc"]["dice"]["mean"] + datasets["e"]["dice"]["mean"]) / 2
    others = datasets["d:vessels"]["dice"]["mean"] + datasets["d:optic_cup"]["dice"]["mean"]
    assert means["dice"] == pytest.approx((others + disc) / 3)
    assert sum(call[0] for call in segmenter.calls) == 3  # Each image once, however many targets.
    assert "instances" not in report


def test_each_is_called_for_each_target_with_its_own_map(make_record):
    records, expected = eyes(make_record)
    found = []
    evaluate(FakeSegmenter(), records, each=lambda *one: found.append(one))
    assert len(found) == len(expected)
    for (record, truth, probabilities, measures), (i, target, values) in zip(
        found, expected, strict=True
    ):
        assert record.image == records[i].image and record.index == 0
        assert [one.target for one in record.targets] == [target]
        assert truth.shape == probabilities.shape == SIZE
        assert measures == values
        assert image_measures(truth, probabilities >= 0.5) == values


def test_the_papers_metrics_and_thresholds_are_by_target(make_record):
    records, _ = eyes(make_record)
    report = evaluate(FakeSegmenter(), records, paper_metrics=True, per_image=True)
    assert {row["target"] for row in report["images"]} == set(TARGETS.of("fundus"))
    low = {"vessels": 0.1}  # Everything is foreground then.
    again = evaluate(FakeSegmenter(), records, paper_metrics=True, per_image=True, threshold=low)
    for one, other in zip(again["images"], report["images"], strict=True):
        if one["target"] == "vessels":
            assert one["recall"] == 1 and other["recall"] < 0.7
        else:
            assert one == other


def test_a_mask_without_a_name_is_the_first_target(make_record, save):
    drawn, truth = masks_of(1), masks_of(2)[0]
    image = make_record("fundus", drawn, {"vessels": truth}).image
    plain = Record("test", "fundus", "d", image, save(255 * truth.astype("uint8")))
    row = evaluate(FakeSegmenter(), [plain])["datasets"]["d"]
    assert row["target"] == "vessels"
    assert row["dice"]["mean"] == image_measures(truth, drawn[0])["dice"]


def test_one_unnamed_target_of_each_modality_is_reported_without_names(make_record, save):
    class Plain(FakeSegmenter):
        target_set = Targets({name: ("mask",) for name in FakeSegmenter.modalities})

    drawn, truth = masks_of(1), masks_of(2)[0]
    mask = save(255 * truth.astype("uint8"))
    image = make_record("xray", drawn, {"lungs": truth}).image
    plain = Record("test", "xray", "d", image, mask)
    report = evaluate(Plain(), [plain], per_image=True)
    assert set(report) == {"preset", "backend", "datasets", "images"}
    assert list(report["datasets"]["d"]) == ["split", "modality", "n", *DEFAULT_METRICS]
    assert "target" not in report["images"][0]
    options = {"metrics": "nsd", "per_image": True}
    wide, none = (
        evaluate(Plain(), [plain], **options, tolerance=pixels)["images"][0]["nsd"]
        for pixels in (20, 0)
    )
    assert wide == 1 > none
    # Named by the data alone: it is the only target that the model has.
    named = Record("test", "xray", "d", image, targets=(TargetMask("lungs", mask),))
    row = evaluate(Plain(), [named])["datasets"]["d"]
    assert row.pop("target") == "lungs" and row == report["datasets"]["d"]


@pytest.mark.parametrize(
    ("modality", "names", "words"),
    [
        ("fundus", ["arteries"], "the target arteries of fundus, which this preset does not have"),
        ("fundus", ["vessels", "optic_dsic"], "mean optic_disc or .*by --target vessels or by"),
        ("fundus", ["nuclei"], "nuclei is a target of microscopy"),
        (
            "xray",
            ["lungs", "heart"],
            "targets lungs, heart of xray, of which this",
        ),
    ],
)
def test_targets_that_the_preset_does_not_have(make_record, modality, names, words):
    record = make_record(modality, masks_of(0), dict(zip(names, masks_of(1), strict=False)))
    segmenter = FakeSegmenter()
    with pytest.raises(InputError, match=words):
        evaluate(segmenter, [record])
    assert not segmenter.calls


def test_a_mask_of_another_size_is_named_and_the_image_left_out(make_record, save):
    records, _ = eyes(make_record)
    wrong = TargetMask("optic_disc", save(np.zeros((5, 5), "uint8")))
    bad = Record("test", "fundus", "d", records[0].image, targets=(*records[1].targets, wrong))
    report = evaluate(FakeSegmenter(), [*records, bad], on_failure=lambda *one: None)
    (failure,) = report["failed"]
    assert re.search(rf"its mask {re.escape(str(wrong.mask))} 5 x 5;", failure["reason"])
    assert report["datasets"]["d:optic_disc"]["n"] == 1


def cells(make_record, save, count=3):
    """Images of nuclei whose objects are numbered, and what they should measure."""
    records, expected = [], []
    for seed in range(count):
        truth, found = blocks(seed), np.roll(blocks(seed + 50), 1, 1)
        instances = {"nuclei": save(truth)}
        record = make_record(
            "microscopy", [found > 0], {"nuclei": truth > 0}, objects=found, instances=instances
        )
        records.append(record)
        probabilities = np.where(found > 0, 0.75, 0.125)
        probabilities[::2] = np.where(found > 0, 0.875, 0.25)[::2]
        expected.append((truth, found, object_scores(found, probabilities)))
    return records, expected


def test_objects_are_measured_where_the_model_and_the_data_have_them(make_record, save):
    records, expected = cells(make_record, save)
    only_mask = make_record("microscopy", masks_of(5, 1), {"nuclei": masks_of(6, 1)[0]}, "plain")
    other = make_record("fundus", masks_of(7), {"vessels": masks_of(8)[0]}, "eyes")
    found = []
    report = evaluate(
        FakeSegmenter(),
        [*records, only_mask, other],
        per_image=True,
        each=lambda *one: found.append(one[3]),
    )
    assert list(report["instances"]) == ["d"]
    row = report["instances"]["d"]
    assert [row.pop(name) for name in ("split", "modality", "target", "n")] == [
        *("test", "microscopy", "nuclei", 3)
    ]
    assert row == summarise_instances([match_objects(*one) for one in expected])
    for k, image in enumerate(report["images"]):
        values = {name: image[name] for name in INSTANCE_METRICS}
        if k < 3:
            assert values == instance_measures(*expected[k])
            assert found[k] == {name: image[name] for name in (*DEFAULT_METRICS, *values)}
        else:
            assert set(values.values()) == {None}
            assert list(found[k]) == list(DEFAULT_METRICS)
    assert [row["n"] for row in report["datasets"].values()] == [3, 1, 1]


def test_an_empty_image_of_objects_counts(make_record, save):
    record = make_record(
        "microscopy",
        np.zeros((1, *SIZE), bool),
        {"nuclei": np.zeros(SIZE, bool)},
        instances={"nuclei": save(np.zeros(SIZE, int))},
    )
    report = evaluate(FakeSegmenter(), [record])
    assert report["instances"]["d"]["pq"] == {"mean": 1.0, "std": 0.0, "pooled": 1.0}
    assert report["instances"]["d"]["true_objects"]["pooled"] == 0


def test_a_resumed_run_of_targets_and_objects_gives_the_same(make_record, save, tmp_path):
    records = eyes(make_record)[0] + cells(make_record, save)[0]
    expected = evaluate(FakeSegmenter(), records, batch_size=2, per_image=True)
    log = tmp_path / "log"
    assert evaluate(FakeSegmenter(), records, 2, per_image=True, log=log) == expected
    lines = log.read_bytes().splitlines(keepends=True)
    for kept in range(1, len(lines) + 1):
        log.write_bytes(b"".join(lines[:kept]))
        segmenter = FakeSegmenter()
        assert evaluate(segmenter, records, 2, per_image=True, log=log) == expected
        assert sum(call[0] for call in segmenter.calls) == 6 - 2 * (kept - 1)
        assert log.read_bytes() == b"".join(lines)
    # An image is measured again if the mask of one of its targets, or its objects, have changed.
    Image.fromarray(np.full(SIZE, 255, "uint8")).save(records[1].targets[1].mask)
    Image.fromarray((blocks(1) > 0).astype("uint16")).save(records[4].targets[0].instances)
    segmenter = FakeSegmenter()
    report = evaluate(segmenter, records, 2, per_image=True, log=log)
    assert sum(call[0] for call in segmenter.calls) == 2
    assert report == evaluate(FakeSegmenter(), records, 2, per_image=True)
    assert report != expected


def test_a_log_of_other_targets_is_refused(make_record, tmp_path):
    records, _ = eyes(make_record)
    evaluate(FakeSegmenter(), records, log=tmp_path / "log")
    fewer = [Record(**{**vars(r), "mask": None, "targets": r.targets[:1]}) for r in records]
    with pytest.raises(InputError, match="measured with images"):
        evaluate(FakeSegmenter(), fewer, log=tmp_path / "log")

    class Other(FakeSegmenter):
        target_set = Targets({**TARGETS.names, "xray": ("lungs",)}, instances=TARGETS.instances)

    with pytest.raises(InputError, match="measured with segmenter"):
        evaluate(Other(), records, log=tmp_path / "log")
    with pytest.raises(InputError, match=r"postprocess none \(now False"):
        evaluate(FakeSegmenter(), records, log=tmp_path / "log", postprocess=False)
    assert all(one.target for one in read_log(tmp_path / "log").measured)


def test_tolerances_are_by_target(make_record, tmp_path):
    records, _ = eyes(make_record)
    options = {"metrics": ["nsd"], "per_image": True}
    usual = evaluate(FakeSegmenter(), records, **options)["images"]
    assert evaluate(FakeSegmenter(), records, **options, tolerance=2)["images"] == usual
    wide = {"vessels": 20, "optic_cup": "0px"}
    log = tmp_path / "log"
    for row, before in zip(
        evaluate(FakeSegmenter(), records, **options, tolerance=wide, log=log)["images"],
        usual,
        strict=True,
    ):
        if row["target"] == "vessels":
            assert row["nsd"] == 1
        elif row["target"] == "optic_cup":
            assert row["nsd"] < before["nsd"]
        else:
            assert row == before
    assert read_log(log).settings["tolerance"]["vessels"] == "20px"
    with pytest.raises(InputError, match="measured with tolerance"):
        evaluate(FakeSegmenter(), records, **options, log=log)
    with pytest.raises(InputError, match="tolerance of the target 'vessel'; did you mean"):
        evaluate(FakeSegmenter(), records, metrics="nsd", tolerance={"vessel": 1})
    for other in ({}, {"metrics": "dice"}, {"paper_metrics": True}):
        with pytest.raises(InputError, match="which none of the metrics uses; add the metric nsd"):
            evaluate(FakeSegmenter(), records, tolerance=1, **other)


def test_millimetres_are_undefined_where_no_file_gives_them(make_record):
    records, _ = eyes(make_record)
    with pytest.warns(InputWarning, match=r"Of 6 images: the file does not say how large"):
        report = evaluate(FakeSegmenter(), records, metrics=["dice", "nsd"], tolerance="1mm")
    assert report["datasets"]["e"]["nsd"] == {"mean": None, "std": None, "dropped": 1}
    assert report["datasets"]["e"]["dice"]["mean"] is not None


def test_postprocessing_is_left_out_on_request(make_record):
    records, _ = eyes(make_record)
    segmenter = FakeSegmenter()
    evaluate(segmenter, records)
    evaluate(segmenter, records, postprocess=False)
    assert [options for _, options in segmenter.calls] == [{}, {"postprocess": False}]


def test_a_segmenter_that_draws_too_few_targets_is_told(make_record):
    class Few(FakeSegmenter):
        def segment(self, *arguments, **options):
            results = super().segment(*arguments, **options)
            return {**results, "masks": [one[..., :1] for one in results["masks"]]}

    record = make_record("fundus", masks_of(0), {"optic_cup": masks_of(1)[0]})
    with pytest.raises(InputError, match="returned 1 masks of the image; expected one for each"):
        evaluate(Few(), [record])


def test_an_index_of_targets(make_record, tmp_path):
    records, expected = eyes(make_record)
    lines = ["split,modality,dataset,image,mask,target"]
    lines += [
        f"test,fundus,{r.dataset},{r.image.name},{one.mask.name},{one.target}"
        for r in records
        for one in r.targets
    ]
    (tmp_path / "index.csv").write_text("\n".join(lines) + "\n")
    report = evaluate(FakeSegmenter(), read_index(tmp_path / "index.csv"), per_image=True)
    assert [row["dice"] for row in report["images"]] == [m["dice"] for *_, m in expected]
    chosen = read_index(tmp_path / "index.csv", targets=["optic_cup"])
    report = evaluate(FakeSegmenter(), chosen, per_image=True)
    assert [row["target"] for row in report["images"]] == ["optic_cup"] * 2
    assert json.loads(json.dumps(report)) == report


def test_a_turned_photograph_and_its_objects_are_compared_as_stored(tmp_path):
    objects = blocks(3)
    upright = np.stack([objects > 0, objects, 0 * objects], axis=-1).astype("uint8")
    exif = Image.Exif()
    exif[0x0112] = 6  # Stored turned by 90 degrees.
    Image.fromarray(np.rot90(upright).copy()).save(tmp_path / "image.png", exif=exif)
    Image.fromarray(objects.astype("uint16")).save(tmp_path / "objects.png")
    path = tmp_path / "objects.png"
    record = Record(
        "test",
        "microscopy",
        "d",
        tmp_path / "image.png",
        targets=(TargetMask("nuclei", path, path),),
    )
    found = []
    report = evaluate(
        FakeSegmenter(),
        [record],
        each=lambda *one: found.append(one),
        on_notice=lambda *one: None,
    )
    assert report["datasets"]["d"]["dice"]["mean"] == 1
    assert report["instances"]["d"]["pq"]["mean"] == report["instances"]["d"]["aji"]["mean"] == 1
    ((_, truth, probabilities, _),) = found
    np.testing.assert_array_equal(truth, np.rot90(objects) > 0)
    np.testing.assert_array_equal(probabilities >= 0.5, truth)


def test_each_page_of_a_file_has_its_targets(tmp_path):
    drawn = [masks_of(seed) for seed in range(3)]
    truths = [masks_of(10 + seed) for seed in range(3)]

    def save(name, pages):
        first, *others = (Image.fromarray(page.astype("uint8")) for page in pages)
        first.save(tmp_path / name, save_all=True, append_images=others)
        return tmp_path / name

    red = [one[0] + 2 * one[1].astype(int) for one in drawn]
    image = save("scan.tif", [np.stack([page, page * 0, page * 0], -1) for page in red])
    targets = tuple(
        TargetMask(name, save(f"{name}.tif", [255 * truth[k] for truth in truths]))
        for k, name in enumerate(("vessels", "optic_disc"))
    )
    record = Record("test", "fundus", "d", image, targets=targets)
    done = []
    report = evaluate(FakeSegmenter(), [record], batch_size=2, per_image=True, progress=done.append)
    rows = [(row["index"], row["target"], row["dice"]) for row in report["images"]]
    assert rows == [
        (i, name, image_measures(truths[i][k], drawn[i][k])["dice"])
        for i in range(3)
        for k, name in enumerate(("vessels", "optic_disc"))
    ]
    assert report["datasets"]["d:vessels"]["n"] == 3 and sum(done) == 1
