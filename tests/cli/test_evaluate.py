import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from keras_espmedsam.cli import evaluate
from keras_espmedsam.data.targets import Targets

MEANS = {**dict.fromkeys(("dice", "iou", "precision", "recall"), 1.0), "hd95": 0.0}
HEADER = "split,modality,dataset,image,mask\n"


@pytest.fixture
def index(image, tmp_path):
    for name in ("1", "2", "3"):
        image(f"data/{name}.png")
        image(f"data/{name}_mask.png")
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
    words = ("lungs", "vessels", "Dice", "HD95", "1.000 ±0.000", "mean of modalities", "tiny on")
    for word in words:
        assert word in result.stdout
    assert "mean of sets" not in result.stdout
    assert report["means"]["test"]["xray"] == {"datasets": ["lungs"], **MEANS}
    assert "out/report.json" in result.stderr.replace("\\", "/")


def test_chosen_metrics(run, index, segmenter):
    assert run("evaluate", "--data", index, "--output", "all.json").exit_code == 0
    result = run(
        *("evaluate", "--data", index, "--metric", "hd95", "--metric", "dice"),
        *("--output", "report.json", "--per-image", "images.csv"),
    )
    assert result.exit_code == 0, result.output
    whole, report = (json.loads(Path(f"{name}.json").read_text()) for name in ("all", "report"))
    for name, row in report["datasets"].items():
        assert list(row) == ["split", "modality", "n", "hd95", "dice"]
        assert row == {key: whole["datasets"][name][key] for key in row}
    header = Path("images.csv").read_text().split("\n")[0]
    assert header == "dataset,split,modality,image,index,hd95,dice"
    assert "IoU" not in result.stdout


@pytest.fixture
def hospitals(index):
    """Three images of one data set from two hospitals; the second one's mask is the opposite."""
    lines = [
        f"test,xray,lungs,{i}.png,{i}_mask.png,{where}\n"
        for i, where in zip("123", "ABA", strict=True)
    ]
    index.write_text("split,modality,dataset,image,mask,hospital\n" + "".join(lines))
    mask = index.with_name("2_mask.png")
    opposite = np.asarray(Image.open(mask)) == 0
    Image.fromarray(255 * opposite.astype("uint8")).save(mask)
    return index


def test_subgroups_and_the_worst_images(run, hospitals, segmenter):
    result = run(
        *("evaluate", "--data", hospitals, "--by", "hospital", "--worst", "2"),
        *("--output", "report.json"),
    )
    assert result.exit_code == 0, result.output
    report = json.loads(Path("report.json").read_text())
    of = report["subgroups"]["hospital"]["lungs"]
    assert {name: (row["n"], row["dice"]["mean"]) for name, row in of.items()} == {
        "A": (2, 1.0),
        "B": (1, 0.0),
    }
    worst = report["worst"]["lungs"]
    assert [(one["image"], one["dice"]) for one in worst] == [("2.png", 0.0), ("1.png", 1.0)]
    assert "By hospital" in result.stdout and "Worst images" in result.stdout
    row = next(line for line in result.stdout.splitlines() if "2.png" in line)
    assert row.split() == ["lungs", "test", "0.000", "2.png"]


def test_a_report_lists_the_worst_images_unasked(run, hospitals, segmenter):
    result = run("evaluate", "--data", hospitals, "--output", "report.json")
    assert len(json.loads(Path("report.json").read_text())["worst"]["lungs"]) == 3
    assert "2.png" not in result.stdout and "By " not in result.stdout
    result = run(
        *("evaluate", "--data", hospitals, "--paper-metrics", "--by", "hospital"),
        *("--output", "paper.json"),
    )
    assert result.exit_code == 0, result.output
    of = json.loads(Path("paper.json").read_text())["subgroups"]["hospital"]["lungs"]
    assert of["B"]["f1"]["mean"] < 0.1 < 0.9 < of["A"]["f1"]["mean"]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (
            "hospitl",
            "has no column hospitl; did you mean hospital or split? It has split, modality",
        ),
        ("note", "Received --by note, but this column of"),
    ],
)
def test_subgroups_that_cannot_be_had(run, hospitals, segmenter, column, words):
    lines = hospitals.read_text().splitlines()
    hospitals.write_text("\n".join([lines[0] + ",note"] + [line + "," for line in lines[1:]]))
    result = run("evaluate", "--data", hospitals, "--by", column)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert not segmenter.loaded


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--metric", "dise"], "metric 'dise'; expected one of dice, iou, precision, recall, hd95"),
        (["--metric", "dice", "--paper-metrics"], "--metric with --paper-metrics"),
    ],
)
def test_metrics_are_checked_before_the_preset_is_loaded(run, index, segmenter, options, words):
    result = run("evaluate", "--data", index, *options)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert not segmenter.loaded


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


def measures(report):
    """How many images are measured, and their mean Dice, by data set."""
    datasets = json.loads(Path(report).read_text())["datasets"]
    return {name: (row["n"], row["dice"]["mean"]) for name, row in datasets.items()}


@pytest.fixture
def many(image, tmp_path):
    """An index of ten X-rays with masks that fit more or less."""
    rows = []
    for i in range(10):
        image(f"many/{i}.png", (5, 8), dark=10 * i)
        image(f"many/{i}_mask.png", (5, 8))
        mask = np.asarray(Image.open(tmp_path / f"many/{i}_mask.png")).copy()
        mask[: i % 5] = 0
        Image.fromarray(mask).save(tmp_path / f"many/{i}_mask.png")
        rows.append(f"test,xray,lungs,{i}.png,{i}_mask.png\n")
    path = tmp_path / "many" / "index.csv"
    path.write_text(HEADER + "".join(rows))
    return path


class Interrupting:
    """A segmenter that is interrupted in its third batch."""

    modalities = ("xray",)

    def __init__(self, segmenter, error):
        self.segmenter, self.error, self.calls = segmenter, error, 0

    def segment(self, *arguments, **options):
        self.calls += 1
        if self.calls == 3:
            raise self.error
        return self.segmenter.segment(*arguments, **options)


def command(index, output="report.json", table="images.csv"):
    return (
        *("evaluate", "--data", index, "--output", output, "--per-image", table),
        *("--batch-size", 2),
    )


def test_ctrl_c_keeps_what_is_measured(run, many, segmenter, monkeypatch):
    assert run(*command(many, "whole.json", "whole.csv")).exit_code == 0
    segmenter.batches.clear()
    with monkeypatch.context() as patch:
        interrupting = Interrupting(segmenter, KeyboardInterrupt())
        patch.setattr(evaluate, "load_segmenter", lambda *arguments: interrupting)
        result = run(*command(many))
    assert result.exit_code == 130
    assert "4 images are measured and saved in report.json.partial" in result.stderr
    assert "--resume" in result.stderr
    assert not Path("report.json").exists()
    assert not Path("images.csv").exists()
    again = run(*command(many))
    assert again.exit_code == 2
    assert "give --resume to continue it, or --overwrite to start again" in again.stderr
    other = run(*command(many), "--mirror", "--resume")
    assert other.exit_code == 2
    assert "mirror False (now True)" in other.stderr
    other = run(*command(many), "--scales", "0.75,1", "--resume")
    assert other.exit_code == 2
    assert "scales none (now [0.75, 1.0])" in other.stderr
    resumed = run(*command(many), "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert "4 images are already measured" in resumed.stderr
    assert segmenter.batches == [2, 2, 2, 2, 2]
    for name, whole in (("report.json", "whole.json"), ("images.csv", "whole.csv")):
        assert Path(name).read_bytes() == Path(whole).read_bytes()
    assert not list(Path().glob("*.partial"))
    assert resumed.stdout == run(*command(many), "--overwrite").stdout


def test_what_is_computed_in_is_told_and_a_run_is_not_resumed_in_another(
    run, many, segmenter, monkeypatch
):
    result = run(*command(many, "fast.json", "fast.csv"), "--precision", "bfloat16")
    assert result.exit_code == 0, result.output
    assert json.loads(Path("fast.json").read_text())["precision"] == "bfloat16"
    assert "in bfloat16" in result.stdout
    assert run(*command(many, "whole.json", "whole.csv")).exit_code == 0
    assert "precision" not in json.loads(Path("whole.json").read_text())
    with monkeypatch.context() as patch:
        interrupting = Interrupting(segmenter, KeyboardInterrupt())
        patch.setattr(evaluate, "load_segmenter", lambda *arguments: interrupting)
        assert run(*command(many)).exit_code == 130
    other = run(*command(many), "--precision", "bfloat16", "--resume")
    assert other.exit_code == 2
    assert "precision" in other.stderr and "(now bfloat16)" in other.stderr
    assert run(*command(many), "--precision", "float32", "--resume").exit_code == 0
    wrong = run("evaluate", "--data", many, "--precision", "float16")
    assert wrong.exit_code == 2
    assert "Received the precision 'float16' to compute in; expected float32 or" in " ".join(
        wrong.stderr.split()
    )


def test_ctrl_c_without_reports_or_measures(run, many, segmenter, monkeypatch):
    interrupting = Interrupting(segmenter, KeyboardInterrupt())
    monkeypatch.setattr(evaluate, "load_segmenter", lambda *arguments: interrupting)
    result = run("evaluate", "--data", many, "--batch-size", 2)
    assert result.exit_code == 130
    assert "--output" in result.stderr
    interrupting.calls = 2
    result = run(*command(many))
    assert (result.exit_code, list(Path().glob("report*"))) == (130, [])
    assert "nothing was measured yet" in result.stderr


def test_overwrite_starts_again(run, many, segmenter, monkeypatch):
    with monkeypatch.context() as patch:
        interrupting = Interrupting(segmenter, KeyboardInterrupt())
        patch.setattr(evaluate, "load_segmenter", lambda *arguments: interrupting)
        run(*command(many))
    segmenter.batches.clear()
    assert run(*command(many), "--overwrite").exit_code == 0
    assert segmenter.batches == [2] * 5
    assert not list(Path().glob("*.partial"))


def test_what_failed_is_measured_once_it_is_mended(run, many, segmenter, image):
    assert run(*command(many, "whole.json", "whole.csv")).exit_code == 0
    sound = (many.parent / "3.png").read_bytes()
    (many.parent / "3.png").write_bytes(sound[:-30])
    image("many/6.png", (13, 13))
    image("many/6_mask.png", (13, 13))
    result = run(*command(many))
    assert result.exit_code == 1
    assert "3.png cannot be decoded" in result.stderr
    assert "6.png: Received an image of 13 x 13" in result.stderr
    assert "8 of 10 images measured; 2 failed. Fix them, and repeat" in result.stderr
    assert measures("report.json")["lungs"][0] == 8
    failed = json.loads(Path("report.json").read_text())["failed"]
    assert [Path(one["image"]).name for one in failed] == ["3.png", "6.png"]
    with open("images.csv", newline="") as file:
        names = [row["image"] for row in csv.DictReader(file)]
    assert names == [f"{i}.png" for i in range(10) if i not in (3, 6)]
    (many.parent / "3.png").write_bytes(sound)
    segmenter.batches.clear()
    result = run(*command(many), "--resume")
    assert result.exit_code == 1
    assert segmenter.batches == [1, 1]
    assert measures("report.json")["lungs"][0] == 9
    image("many/6.png", (5, 8), dark=60)
    mask = np.full((5, 8), 200, np.uint8)
    mask[:, :4] = mask[:1] = 0
    Image.fromarray(mask).save(many.parent / "6_mask.png")
    assert run(*command(many), "--resume").exit_code == 0
    assert measures("report.json") == measures("whole.json")
    assert Path("images.csv").read_bytes() == Path("whole.csv").read_bytes()
    assert not list(Path().glob("*.partial"))


def test_everything_bad(run, many, segmenter):
    for i in range(10):
        path = many.parent / f"{i}.png"
        path.write_bytes(path.read_bytes()[:-30])
    result = run(*command(many))
    assert result.exit_code == 2
    assert "No image can be measured" in result.stderr
    assert not list(Path().glob("report*"))


def test_the_table_is_printed_elsewhere_where_stdout_is_full(run, many, segmenter, monkeypatch):
    table = run(*command(many)).stdout
    assert "lungs" in table
    monkeypatch.setattr(evaluate, "stdout_is_lost", lambda: True)
    assert "lungs" not in run(*command(many), "--overwrite").stderr
    assert table.split() == run("evaluate", "--data", many).stderr.split()


def test_an_input_is_not_replaced(run, many, segmenter):
    before = many.read_bytes()
    for option in ("--output", "--per-image"):
        result = run("evaluate", "--data", many, option, many, "--overwrite")
        assert result.exit_code == 2
        assert "would replace an input" in result.stderr
    assert many.read_bytes() == before
    assert segmenter.loaded == []


def test_black_and_white_can_be_said(run, many, segmenter):
    with Image.open(many.parent / "0.png") as image:
        array = np.where(np.asarray(image.convert("L")) > 100, 3000, 100).astype(np.uint16)
    Image.fromarray(array).save(many.parent / "0.png")
    result = run("evaluate", "--data", many)
    assert result.exit_code == 0, result.output
    assert "0.png: only 12 of its 16 bits are used" in result.stderr
    assert "give --intensity full or --intensity LOW:HIGH." in result.stderr
    result = run("evaluate", "--data", many, "--intensity", "0:4095")
    assert "0.png" not in result.stderr
    assert "And 6 more files: its 8 bits, or fewer, hold no 4095" in result.stderr
    result = run("evaluate", "--data", many, "--intensity", "dark")
    assert result.exit_code == 2
    assert "Received the intensity 'dark' (--intensity)" in result.stderr


class TargetSegmenter:
    """Draws one target of each bit of an image's values; the first of microscopy has objects."""

    modalities = ("fundus", "microscopy")
    intensity = "auto"
    target_set = Targets(
        {"fundus": ("vessels", "optic_disc"), "microscopy": ("nuclei",)},
        instances={"microscopy": {"nuclei": "components"}},
    )

    def __init__(self):
        self.options = []

    def segment(self, images, modalities, **options):
        self.options.append(options)
        masks = [np.stack([np.asarray(i) & 1, np.asarray(i) & 2], -1) > 0 for i in images]
        numbers = [(np.asarray(i) >> 2).astype("int32") for i in images]
        return {
            "masks": masks,
            "probabilities": [mask.astype("float32") for mask in masks],
            "instances": [
                {"nuclei": one} if modality == "microscopy" else {}
                for one, modality in zip(numbers, modalities, strict=True)
            ],
        }


@pytest.fixture
def targets(tmp_path, monkeypatch):
    """An index of an eye with two targets, another with one, and an image of cells."""

    def save(name, values):
        Image.fromarray(np.repeat(values, 4, axis=0).astype("uint8")).save(tmp_path / name)

    save("eye.png", [[1, 3, 2, 0]])
    save("vessels.png", [[255, 255, 255, 0]])
    save("disc.png", [[0, 255, 255, 0]])
    save("cells.png", [[5, 5, 9, 0]])
    save("nuclei.png", [[1, 1, 2, 2]])
    (tmp_path / "targets.csv").write_text(
        "split,modality,dataset,image,mask,target,instances\n"
        "test,fundus,eyes,eye.png,vessels.png,vessels,\n"
        "test,fundus,eyes,eye.png,disc.png,optic_disc,\n"
        "test,microscopy,cells,cells.png,,nuclei,nuclei.png\n"
    )
    fake = TargetSegmenter()
    monkeypatch.setattr(evaluate, "load_segmenter", lambda *arguments: fake)
    monkeypatch.setenv("COLUMNS", "160")
    return fake


def test_targets_and_objects(run, targets, tmp_path):
    result = run(
        *("evaluate", "--data", tmp_path / "targets.csv"),
        *("--output", "report.json", "--per-image", "images.csv"),
    )
    assert result.exit_code == 0, result.output
    report = json.loads(Path("report.json").read_text())
    assert list(report["datasets"]) == ["eyes:vessels", "eyes:optic_disc", "cells"]
    assert report["datasets"]["eyes:vessels"]["dice"]["mean"] == 0.8
    assert report["means"]["test"]["fundus"]["dice"] == 0.9
    assert report["instances"]["cells"]["pq"] == {"mean": 0.5, "std": 0.0, "pooled": 0.5}
    with open("images.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["target"], row["pq"]) for row in rows] == [
        ("eye.png", "vessels", ""),
        ("eye.png", "optic_disc", ""),
        ("cells.png", "nuclei", str(report["instances"]["cells"]["pq"]["mean"])),
    ]
    lines = [line.split() for line in result.stdout.splitlines()]
    for start in (
        "data set split modality target n Dice IoU",
        "eyes test fundus vessels 1 0.800",
        "eyes test fundus optic_disc 1 1.000",
        "mean of targets test fundus 0.900",
        "mean of modalities test",
        "data set split target n true found error AP AP50 AP75 PQ SQ RQ AJI DSB",
        "cells test nuclei 1 2 2 0.0",
    ):
        assert any(line[: len(start.split())] == start.split() for line in lines), start
    assert "mean of sets" not in result.stdout


def test_one_target_its_tolerance_and_no_postprocessing(run, targets, tmp_path):
    result = run(
        *("evaluate", "--data", tmp_path / "targets.csv", "--target", "vessels"),
        *("--metric", "all", "--tolerance", "vessels=1", "--tolerance", "0", "--no-postprocess"),
        *("--output", "report.json"),
    )
    assert result.exit_code == 0, result.output
    (row,) = json.loads(Path("report.json").read_text())["datasets"].values()
    assert row["target"] == "vessels" and list(row)[-2:] == ["nsd", "cldice"]
    assert row["nsd"]["mean"] == 1
    assert targets.options[0]["postprocess"] is False
    assert "NSD" in result.stdout and "clDice" in result.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--target", "vesels"], "the target vesels, which the index"),
        (["--tolerance", "1"], "a tolerance, which none of the metrics uses"),
        (["--metric", "nsd", "--tolerance", "two"], "the tolerance 'two'; expected a distance"),
        (["--metric", "nsd", "--tolerance", "vessels"], "the tolerance 'vessels'; expected"),
        (["--metric", "nsd", "--tolerance", "cup=1"], "a tolerance of the target 'cup'"),
        (["--metric", "nsd", *("--tolerance", "1") * 2], "--tolerance twice for all targets"),
    ],
)
def test_targets_and_tolerances_that_cannot_be_used(run, targets, tmp_path, options, words):
    result = run("evaluate", "--data", tmp_path / "targets.csv", *options)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert not targets.options


def test_failed_images_are_counted_not_their_targets(run, targets, tmp_path):
    path = tmp_path / "targets.csv"
    Image.new("L", (9, 9)).save(tmp_path / "small.png")
    path.write_text(path.read_text() + "test,fundus,eyes,small.png,vessels.png,vessels,\n")
    result = run("evaluate", "--data", path, "--output", "report.json")
    assert result.exit_code == 1
    assert "2 of 3 images measured; 1 failed" in result.stderr
    again = run("evaluate", "--data", path, "--output", "report.json", "--resume")
    assert "2 images are already measured" in " ".join(again.stderr.split())


def test_means_of_sets_and_of_modalities(capsys):
    def row(modality, value, n):
        return {"split": "test", "modality": modality, "n": n, "dice": {"mean": value, "std": 0.0}}

    datasets = {"a": row("eye", 0.5, 1), "b": row("eye", 0.7, 9), "c": row("skin", 0.8, 2)}
    means = {"eye": {"datasets": ["a", "b"], "dice": 0.6}, "skin": {"datasets": ["c"], "dice": 0.8}}
    report = {"preset": "x", "backend": "y", "datasets": datasets, "means": {"test": means}}
    evaluate.print_report(report, Console(width=120))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["mean", "of", "sets", "test", "eye", "10", "0.600"] in lines
    assert ["mean", "of", "modalities", "test", "12", "0.700"] in lines
    assert sum(line[:1] == ["mean"] for line in lines) == 2
