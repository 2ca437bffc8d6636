import csv
import os
import sys
from pathlib import Path

import pytest

from keras_espmedsam.cli.report_files import ReportFiles
from keras_espmedsam.data.record import Record
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.measurement_log import Measurement

ROW = {"dataset": "d", "image": "1.png", "index": 0, "dice": 1 / 3}
REPORT = {"datasets": {"d": {"n": 1}}}


def begin(path, reports=()):
    """Leave a log as a killed run does."""
    with ReportFiles(path, None, False, False).log() as log:
        log.begin({"threshold": 0.5})
        log.append([Measurement(0, 0, [], {"dice": 1 / 3})])
        if reports:
            log.append(reports=[os.path.realpath(report) for report in reports])


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_reports_are_written_and_the_log_goes(place):
    output, table = Path("out/report.json"), Path("tables/images.csv")
    files = ReportFiles(output, table, False, False)
    files.check_place(place / "index.csv", [])
    with files.log() as log:
        assert log.path == Path("out/report.json.partial")
        log.begin({})
        log.append([Measurement(0, 0, [], {"dice": 1 / 3})])
        files.write(REPORT, [ROW], log)
    files.remove_log()
    assert table.read_text() == f"dataset,image,index,dice\nd,1.png,0,{1 / 3!r}\n"
    assert output.read_text().startswith('{\n  "datasets"')
    found = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert found == {"out/report.json", "tables/images.csv"}


def test_without_reports_there_is_no_log(place):
    with ReportFiles(None, None, False, False).log() as log:
        assert log is None
    with ReportFiles(None, Path("images.csv"), False, False).log() as log:
        assert log.path == Path("images.csv.partial")
    assert list(place.iterdir()) == []


def test_a_log_is_gone_on_with_only_when_asked(place):
    output = Path("report.json")
    begin(output)
    with pytest.raises(InputError, match=r"json\.partial holds .* unfinished run \(images: 1\)"):
        ReportFiles(output, None, False, False)
    with ReportFiles(output, None, False, True).log() as log:
        assert log.count == 1
    with ReportFiles(output, None, True, True).log() as log:
        assert log.count == 1
    with ReportFiles(output, None, True, False).log() as log:
        assert log.count == 0
    # It is found beside either of the reports.
    begin(Path("images.csv"))
    with ReportFiles(Path("other.json"), Path("images.csv"), False, True).log() as log:
        assert (log.path, log.count) == (Path("images.csv.partial"), 1)


def test_a_resumed_run_replaces_its_own_reports_alone(place):
    output, table = Path("report.json"), Path("images.csv")
    output.write_text("mine")
    begin_at = Path("report.json.partial")
    output.unlink()
    begin(output)
    output.write_text("mine")
    with pytest.raises(InputError, match="already exists; choose another --output"):
        ReportFiles(output, table, False, True)
    begin_at.unlink()
    output.unlink()
    begin(output, reports=[output])
    output.write_text("half of a pair")
    ReportFiles(output, table, False, True)
    table.write_text("mine")
    with pytest.raises(InputError, match="already exists; choose another --per-image"):
        ReportFiles(output, table, False, True)
    ReportFiles(output, table, True, True)


def test_resuming_nothing(place):
    with pytest.raises(InputError, match="--resume without --output or --per-image"):
        ReportFiles(None, None, False, True)
    with ReportFiles(Path("report.json"), None, False, True).log() as log:
        assert log.count == 0
    Path("report.json").write_text("of a run that has ended")
    with pytest.raises(InputError, match="already exists"):
        ReportFiles(Path("report.json"), None, False, True)


@pytest.mark.parametrize(
    ("output", "table", "words"),
    [
        ("a.json", "a.json", "for both --output and --per-image"),
        ("a.json", "b/../a.json", "for both --output and --per-image"),
        ("a.json", "a.json.partial", "the name of the log that keeps"),
        ("a.csv.partial", "a.csv", "the name of the log that keeps"),
        (".", None, "is a folder"),
        ("", None, "is a folder"),
        ("..", None, "is a folder"),
        (None, "/", "is a folder"),
        ("a" * 252 + ".json", None, "cannot be written: File name too long"),
        ("a" * 245 + ".json", None, "cannot be written: File name too long"),
        pytest.param(
            os.devnull, None, "not a regular file",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="it has no such files"),
        ),
    ],
)  # fmt: skip
def test_names_that_cannot_be(place, output, table, words):
    Path("b").mkdir()
    with pytest.raises(InputError, match=words):
        ReportFiles(*(None if name is None else Path(name) for name in (output, table)), True, True)


def test_a_log_that_is_something_else_is_told_first(place):
    Path("report.json.partial").write_text("mine\n")
    with pytest.raises(InputError, match="holds something else"):
        ReportFiles(Path("report.json"), None, True, False)
    assert Path("report.json.partial").read_text() == "mine\n"


def test_no_input_is_replaced(place):
    for name in ("index.csv", "1.dat", "2.dat", "other.png"):
        Path(name).write_text(name)
    Path("link.json").symlink_to("index.csv")
    record = Record("test", "xray", "d", place / "1.dat", place / "2.dat")
    for name in ("index.csv", "1.dat", "2.dat", "other.png", "link.json"):
        for reports in ((Path(name), None), (None, Path(name))):
            with pytest.raises(InputError, match="would replace an input"):
                ReportFiles(*reports, True, False).check_place(Path("index.csv"), [record])
    ReportFiles(Path("new.png"), None, False, False).check_place(Path("index.csv"), [record])


def test_what_cannot_be_written_is_told_before_the_run(place):
    Path("file").write_text("no folder")
    files = ReportFiles(Path("file/report.json"), None, False, False)
    with pytest.raises(InputError, match=r"file/report\.json cannot be written: "):
        files.check_place(Path("index.csv"), [])
    if os.name == "nt" or os.geteuid() == 0:
        return  # nothing is forbidden to them
    Path("locked").mkdir(mode=0o500)
    files = ReportFiles(Path("locked/report.json"), None, False, False)
    with pytest.raises(InputError, match="cannot be written: Permission denied"):
        files.check_place(Path("index.csv"), [])


def test_a_report_that_cannot_be_written_in_the_end_keeps_the_log(place):
    output = Path("report.json")
    files = ReportFiles(output, None, False, False)
    with files.log() as log:
        log.begin({})
        log.append([Measurement(0, 0, [], {"dice": 1 / 3})])
        output.mkdir()
        with pytest.raises(InputError, match=r"saved in report\.json\.partial; repeat .* --resume"):
            files.write(REPORT, [ROW], log)
    output.rmdir()
    with ReportFiles(output, None, False, True).log() as log:
        assert log.count == 1


def test_no_cell_of_the_table_is_a_formula_and_numbers_stay(place):
    table = Path("images.csv")
    files = ReportFiles(None, table, False, False)
    row = {"dataset": "=1+1|cmd", "image": "@a\nb.png", "index": -1, "dice": -0.5, "hd": 2e-9}
    files.write(REPORT, [row], None)
    with table.open(newline="") as file:
        names, values = csv.reader(file)
    assert names == list(row)
    assert values == ["'=1+1|cmd", "'@a\nb.png", "-1", "-0.5", "2e-09"]
