import csv
import json
from pathlib import Path

import pytest

HEADER = "split,modality,dataset,image,mask\n"


@pytest.fixture
def index(picture, tmp_path):
    for name in ("1", "2", "3"):
        picture(f"data/{name}.png")
        picture(f"data/{name}_mask.png")
    path = tmp_path / "data" / "index.csv"
    path.write_text(
        HEADER
        + "test,xray,lungs,1.png,1_mask.png\n"
        + "unseen,xray,lungs,2.png,2_mask.png\n"
        + "test,fundus,vessels,3.png,3_mask.png\n"
    )
    return path


def test_table_and_report(run, index, segmenter):
    result = run("evaluate", "--preset", "tiny", "--data", index, "--output", "out/report.json")
    assert result.exit_code == 0, result.output
    report = json.loads(Path("out/report.json").read_text())
    assert report["preset"] == "tiny"
    assert set(report["datasets"]) == {"lungs", "vessels"}
    lungs = report["datasets"]["lungs"]
    assert (lungs["split"], lungs["modality"], lungs["n"]) == ("test", "xray", 1)
    assert {name: lungs[name]["mean"] for name in ("dice", "iou", "precision", "recall")} == {
        **dict.fromkeys(("dice", "iou", "precision", "recall"), 1)
    }
    assert lungs["hd95"] == {"mean": 0, "std": 0}
    for word in ("lungs", "vessels", "Dice", "HD95", "1.000 ±0.000", "mean of sets", "tiny on"):
        assert word in result.stdout
    assert "out/report.json" in result.stderr.replace("\\", "/")


def test_several_splits(run, index, segmenter):
    result = run(
        *("evaluate", "--data", index, "--split", "test", "--split", "unseen"),
        *("--output", "report.json"),
    )
    assert result.exit_code == 0, result.output
    datasets = json.loads(Path("report.json").read_text())["datasets"]
    assert set(datasets) == {"lungs/test", "lungs/unseen", "vessels"}


def test_one_data_set_and_paper_metrics(run, index, segmenter):
    result = run("evaluate", "--data", index, "--dataset", "vessels", "--paper-metrics")
    assert result.exit_code == 0, result.output
    for word in ("vessels", "Accuracy", "F1", "Hausdorff"):
        assert word in result.stdout
    assert "lungs" not in result.stdout


def test_measures_of_each_image(run, index, segmenter):
    result = run("evaluate", "--data", index, "--per-image", "images.csv", "--split", "test")
    assert result.exit_code == 0, result.output
    with open("images.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["dataset"], row["image"], row["index"]) for row in rows] == [
        ("lungs", "1.png", "0"),
        ("vessels", "3.png", "0"),
    ]
    assert [float(row["dice"]) for row in rows] == [1.0, 1.0]
    again = run("evaluate", "--data", index, "--per-image", "images.csv")
    assert again.exit_code == 2
    assert "another --per-image" in again.stderr


def test_an_existing_report_is_kept(run, index, segmenter):
    Path("report.json").write_text("mine")
    arguments = ("evaluate", "--data", index, "--output", "report.json")
    result = run(*arguments)
    assert result.exit_code == 2
    assert "--overwrite" in result.stderr
    assert Path("report.json").read_text() == "mine"
    assert segmenter.loaded == []
    assert run(*arguments, "--overwrite").exit_code == 0
    assert "datasets" in json.loads(Path("report.json").read_text())


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "lacks the columns"),
        ("a,b\n1,2\n", "found a, b"),
        (HEADER + "val,xray,d,1.png,1_mask.png\n", "it has val"),
        (HEADER + "test,xray,d,9.png,1_mask.png\n", "9.png"),
        (HEADER + "test,mri,d,1.png,1_mask.png\n", "it has xray, fundus"),
        (HEADER + "test,xray,d,1.png,index.csv\n", "not an image"),
    ],
)
def test_malformed_index(run, index, segmenter, content, word):
    index.write_text(content)
    result = run("evaluate", "--data", index, "--output", "report.json")
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert word in lines[0]
    assert not Path("report.json").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n cut"])
def test_malformed_image(run, index, segmenter, content):
    (index.parent / "1.png").write_bytes(content)
    result = run("evaluate", "--data", index, "--output", "report.json")
    assert result.exit_code == 1
    assert "1.png" in result.stderr
    assert "1 of 2 images measured; 1 failed." in result.stderr
    assert segmenter.batches == [1]
    report = json.loads(Path("report.json").read_text())
    assert {name: row["n"] for name, row in report["datasets"].items()} == {
        "lungs": 0,
        "vessels": 1,
    }
    assert report["datasets"]["lungs"]["dice"] == {"mean": None, "std": None}
    (failure,) = report["failed"]
    assert failure["image"].endswith("1.png")
    only = run("evaluate", "--data", index, "--dataset", "lungs")
    assert only.exit_code == 2
    assert segmenter.batches == [1]


def test_missing_index(run, segmenter):
    result = run("evaluate", "--data", "none.csv")
    assert result.exit_code == 2
    assert "none.csv does not exist" in result.stderr
