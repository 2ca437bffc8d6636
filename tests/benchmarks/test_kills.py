"""`benchmarks/kills.py` on one command, and what it counts."""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "kills.py"


@pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND") != "torch",
    reason="it forks a program in which Keras runs: TensorFlow and JAX cannot be forked",
)
def test_a_killed_segment_leaves_nothing_half_written_and_is_repeated(tmp_path):
    done = subprocess.run(
        [sys.executable, BENCHMARK, "--commands", "segment", "--kills", "2", "--output", tmp_path],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "kills.json").read_text())
    assert row["command"] == "segment"
    assert (row["half files"], row["torn"], row["left after"], row["processes"]) == (0, 0, 0, 0)
    assert row["equal after"] == "2 of 2"
    assert row["files compared"] == "16 of 16"
    assert "| segment | " in (tmp_path / "kills.md").read_text()


@pytest.fixture(scope="module")
def kills(load):
    pytest.importorskip("h5py")
    return load("kills")


def test_a_file_that_is_cut_is_seen(kills, tmp_path):
    from PIL import Image

    path = tmp_path / "a.png"
    Image.linear_gradient("L").save(path)
    assert kills.is_whole(path)
    path.write_bytes(path.read_bytes()[:-40])
    assert not kills.is_whole(path)
    for name, whole, cut in (
        ("a.json", "{}", "{"),
        ("a.csv", "a\n1\n", "a\n1"),
        ("a.yaml", "a: 1", ""),
    ):
        (tmp_path / name).write_text(whole)
        assert kills.is_whole(tmp_path / name)
        (tmp_path / name).write_text(cut)
        assert not kills.is_whole(tmp_path / name)


def test_an_artefact_beside_the_description_of_another_is_seen(kills, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"1")
    sums = {"a.onnx": hashlib.sha256(b"1").hexdigest()}
    (tmp_path / "a.onnx.json").write_text(json.dumps({"sha256": sums}))
    assert not kills.is_torn("export onnx", None, {}, tmp_path)
    (tmp_path / "a.onnx").write_bytes(b"2")
    assert kills.is_torn("export onnx", None, {}, tmp_path)


def test_a_preset_of_an_older_and_a_newer_one_is_seen(kills, tmp_path):
    older, output = tmp_path / "older", tmp_path / "output"
    for folder, content in ((older, "1"), (output, "2")):
        folder.mkdir()
        for name in ("a.json", "b.json"):
            (folder / name).write_text(content)
    whole = kills.files_of(output)
    assert not kills.is_torn("save_to_preset", older, whole, output)
    (output / "b.json").write_text("1")
    assert kills.is_torn("save_to_preset", older, whole, output)
    (output / "a.json").write_text("1")
    assert not kills.is_torn("save_to_preset", older, whole, output)


def test_a_date_and_a_count_are_no_difference(kills, tmp_path):
    first, second, third = (tmp_path / f"{i}.json" for i in range(3))
    first.write_text('{"date_saved": "11-30", "sha256": {}, "name": "tic", "classes": 2}')
    second.write_text(
        '{"date_saved": "12-01", "sha256": {"a": "b"}, "name": "tic_2", "classes": 2}'
    )
    third.write_text('{"date_saved": "12-01", "sha256": {}, "name": "tic", "classes": 3}')
    assert kills.digest_of(first) == kills.digest_of(second) != kills.digest_of(third)


def test_what_was_measured_before_stays_in_the_table(kills, tmp_path):
    options = argparse.Namespace(commands=["train"], kills=2, output=tmp_path)
    known = {"segment": (), "train": ()}
    kills.write([{"command": "train", "killed": 1}], known, options)
    # Also where all are measured, of which the others are to come.
    options.commands = None
    kills.write([{"command": "segment", "killed": 2}], known, options)
    found = json.loads((tmp_path / "kills.json").read_text())
    assert [row["killed"] for row in found] == [2, 1]
    assert "| train | 1 |" in (tmp_path / "kills.md").read_text()
