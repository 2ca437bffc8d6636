"""The statistics of docs/reports/results.md, and what its tables hold."""

import importlib
import json

import numpy as np
import pytest

from keras_espmedsam.data import Record


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend("benchmarks")
    return importlib.import_module


def rows(shift=0.0, targets=("vessels", "disc")):
    """Of two sets of one modality, of which the first has two targets, and of another modality."""
    rng = np.random.default_rng(0)
    found = []
    for modality, dataset, target, count in (
        ("fundus", "drive", "vessels", 10),
        ("fundus", "drive", "disc", 10),
        ("fundus", "hrf", "vessels", 4),
        ("xray", "jsrt", "lungs", 6),
    ):
        found += [
            {"split": "test", "modality": modality, "dataset": dataset, "target": target}
            | {"image": f"{dataset}/{i}.png", "dice": value + shift, "subgroup": "ab"[i % 2]}
            for i, value in enumerate(rng.random(count))
            if target in (*targets, "lungs")
        ]
    return found


def test_a_set_a_target_and_a_modality_count_alike(module):
    means = module("preset_statistics").Means(rows())
    of = {key: means.of_set(*key)[0] for key in means.sets}
    vessels = (of["fundus", "vessels", "drive"] + of["fundus", "vessels", "hrf"]) / 2
    assert means.of_target("fundus", "vessels")[0] == pytest.approx(vessels)
    fundus = (vessels + of["fundus", "disc", "drive"]) / 2
    assert means.of_modality("fundus")[0] == pytest.approx(fundus)
    assert means.of_all()[0] == pytest.approx((fundus + of["xray", "lungs", "jsrt"]) / 2)
    assert means.counts["fundus", "vessels", "hrf"] == 4


def test_the_interval_is_that_of_a_mean(module):
    rng = np.random.default_rng(0)
    values = rng.normal(0.5, 0.2, 400)
    images = [
        {"modality": "m", "dataset": "d", "target": "t", "image": str(i), "dice": value}
        for i, value in enumerate(values)
    ]
    value, low, high = module("preset_statistics").Means(images).of_all()
    deviation = values.std() / 20
    assert [low - value, high - value] == pytest.approx(
        [-1.96 * deviation, 1.96 * deviation], rel=0.1
    )


def test_two_presets_are_paired_on_what_both_have(module):
    statistics = module("preset_statistics")
    new, old = {"images": rows()[::-1]}, {"images": rows(-0.1, ["vessels"])}
    one, other = statistics.common_rows(new, old, "test")
    assert len(one) == len(other) == 20
    assert statistics.Means(one, other=other).of_all() == pytest.approx((0.1, 0.1, 0.1))


def test_what_is_undefined_is_left_out(module):
    images = rows()
    for row in images[:5]:
        row["dice"] = None
    means = module("preset_statistics").Means(images)
    left = [row["dice"] for row in images[5:10]]
    assert means.counts["fundus", "vessels", "drive"] == 5
    assert means.of_set("fundus", "vessels", "drive")[0] == pytest.approx(np.mean(left))
    assert np.isfinite(means.of_all()).all()


def test_subgroups_are_those_of_sets_that_have_several(module):
    images = [row | {"subgroup": ""} if row["dataset"] == "hrf" else row for row in rows()]
    images += [{**images[0], "image": "drive/more.png", "subgroup": "alone"}]
    found = module("preset_statistics").subgroup_rows({"images": images})
    assert [row[1:4] for row in found] == [
        ("drive", "disc", "a"),
        ("drive", "disc", "b"),
        ("jsrt", "lungs", "a"),
        ("jsrt", "lungs", "b"),
    ]


def test_calibration_error_is_the_mean_distance_over_pixels(module):
    # 10 pixels said 0.2 of which 2 are true, 30 said 0.9 of which 24 are.
    counts = [[10, 30], [2, 27], [2, 24]]
    assert module("preset_statistics").calibration_error(counts) == pytest.approx(3 / 40)


@pytest.mark.parametrize(
    ("dataset", "file", "said"),
    [
        ("busi", "malignant_186.jpg", "malignant"),
        ("shenzhen", "CHNCXR_0657_1.jpg", "tuberculosis"),
        ("montgomery", "MCUCXR_0001_0.jpg", "normal"),
        ("jsrt", "JPCNN083.jpg", "no nodule"),
        ("drive", "19_testing.jpg", ""),
    ],
)
def test_diagnoses_are_in_the_names_of_files(module, dataset, file, said):
    assert module("preset_accuracy").subgroup(Record("test", "xray", dataset, file)) == said


def test_the_page_compares_the_newest_version_with_the_one_before(module, tmp_path):
    report, accuracy = module("preset_report"), module("preset_accuracy")
    measures = {"iou": 0.5, "precision": 0.5, "recall": None, "hd95": 3.0}
    for number, shift, targets in ((9, -0.1, ["vessels"]), (10, 0.0, ["vessels", "disc"])):
        images = [row | measures for row in rows(shift, targets)]
        images += [row | {"split": "unseen"} for row in images]
        result = {"preset": f"{report.PRESET}@{number}", "keras": "3, torch", "machine": "here"}
        result |= {"images": images, "calibration": {"hrf:vessels": [[10], [2], [2]]}}
        path = tmp_path / f"{report.PRESET}@{number}.json"
        path.write_text(accuracy.one_per_line(result))
        assert json.loads(path.read_text()) == result
    report.write(tmp_path, tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert "How well `espmedsam_nano_256@10` does" in text
    lines = [line for line in text.splitlines() if line.startswith("| drive (fundus) | vessels")]
    assert len(lines) == 2 and all("| 0.100 [0.100, 0.100] |" in line for line in lines)
    (disc, _) = (line for line in text.splitlines() if line.startswith("| drive (fundus) | disc"))
    assert disc.endswith("|  |  |")
    assert "## Objects" not in text and "## Kinds" not in text
    assert (tmp_path / "datasets.png").exists() and (tmp_path / "calibration.png").exists()


@pytest.mark.parametrize(
    ("drawn", "kinds"),
    [
        ([], []),
        ([(slice(10, 20), slice(10, 20), False)], ["missed"]),
        ([(slice(30, 34), slice(30, 34), True)], ["false patch"]),
        ([(30, 30, True)], ["specks"]),
        ([(slice(14, 16), slice(14, 16), False)], ["hole"]),
        ([(slice(10, 13), slice(10, 20), False)], ["border"]),
        ([(14, 14, False), (30, 30, True)], ["hole", "specks"]),
    ],
)
def test_kinds_of_error(module, drawn, kinds):
    truth = np.zeros((40, 40), bool)
    truth[10:20, 10:20] = True
    found = truth.copy()
    for *place, value in drawn:
        found[tuple(place)] = value
    assert sorted(module("error_kinds").kinds_of(truth, found)) == kinds


def test_overlays_stay_out_of_the_repository(module, tmp_path, monkeypatch, capsys):
    kinds = module("error_kinds")
    (tmp_path / "index2.csv").touch()
    monkeypatch.setenv("ESPMEDSAM_DATA", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["error_kinds.py", "eye", "--overlays", str(kinds.ROOT / "a")])
    with pytest.raises(SystemExit):
        kinds.main()
    assert "give a folder outside of it" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["error_kinds.py", str(tmp_path)])
    with pytest.raises(SystemExit):
        kinds.main()
    assert "give a folder a name: --name NAME@VERSION" in capsys.readouterr().err


def test_what_was_seen_by_eye_stands_below_what_was_counted(module):
    kinds = module("error_kinds")
    counts = dict.fromkeys([*kinds.KINDS, "none"], 0)
    counted = {"modality": "fundus", "target": "vessels", "masks": 4, **counts, "missed": 2}
    result = {"preset": "p@2", "images": 4, "targets": [counted]}
    rows = [
        {"modality": name, "images": 6, **counts, "wrong target": 5, "none": 1}
        for name in ("fundus", "xray")
    ]
    seen = {"preset": "p@2", "date": "today", "by": "me", "modalities": rows, "seen": ["Broken."]}
    text = kinds.section(result, seen)
    assert "| fundus | vessels | 4 | 2 | 0 | 0 | 0 | 0 | 0 |" in text
    assert "12 validation images" in text and "- Broken." in text
    assert "| xray | 6 | 0 | 0 | 0 | 0 | 0 | 5 | 1 |" in text
    assert "By eye" not in kinds.section(result)
    assert "By eye" not in kinds.section(result, {**seen, "preset": "p@3"})


def test_the_table_in_the_paper_s_layout_says_what_was_trained_on(module):
    found = [
        {"split": split, "modality": modality, "dataset": dataset, "target": target}
        | {"image": f"{dataset}/0.png", "dice": 0.5, "iou": 0.25}
        for split, modality, dataset, target in (
            ("test", "fundus", "drive", "vessels"),
            ("unseen", "fundus", "stare", "vessels"),
            ("test", "ultrasound", "busi", "lesion"),
        )
    ]
    text = module("paper_table").paper_table({"images": found})
    half, quarter = "0.500 [0.500, 0.500]", "0.250 [0.250, 0.250]"
    assert f"| fundus | at home | DRIVE | 20 | test | 1 | {half} | {quarter} |" in text
    assert f"| fundus | unseen | STARE | 20 | unseen | 1 | {half} | {quarter} |" in text
    assert f"| ultrasound | unseen | BUSI | 780 | test; trained on | 1 | {half} |" in text
    assert "| dermoscopy | unseen | PH2 | 200 | not in the data |  |  |  |" in text
