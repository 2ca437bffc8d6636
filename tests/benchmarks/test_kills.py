"""`benchmarks/kills.py` on one command, and what it counts."""

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
    assert "--commands segment" in (tmp_path / "kills.md").read_text()


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
    (tmp_path / "a.json").write_text(json.dumps({"sha256": sums}))
    assert not kills.is_torn(tmp_path)
    (tmp_path / "a.onnx").write_bytes(b"2")
    assert kills.is_torn(tmp_path)
