"""Damaged files of every kind that needs no backend, in a worker with limits."""

import json
import subprocess
import sys

import pytest

from tests.benchmarks.conftest import BENCHMARKS

IMAGES = ("PNG", "JPEG", "BMP, GIF, PPM, WebP", "TIFF", "DICOM", "NIfTI")


@pytest.fixture(scope="module")
def seeds(load):
    return load("hostile_seeds")


def test_a_file_is_known_by_its_number(seeds):
    sound = seeds.image_seeds()["PNG"]
    files = [seeds.damaged("PNG", sound, number) for number in range(30)]
    assert files == [seeds.damaged("PNG", sound, number) for number in range(30)]
    assert files != [seeds.damaged("PNG", sound, number, seed=1) for number in range(30)]
    assert len(set(files)) > 20
    assert all(files)


def test_the_sound_files_are_read(seeds, tmp_path):
    from keras_espmedsam.data import read_images

    for kind, sound in seeds.image_seeds().items():
        for number, content in enumerate(sound):
            path = tmp_path / f"{number}.bin"
            path.write_bytes(content)
            images = list(read_images(path))
            assert images and images[0].array.any(), (kind, number)


def test_five_hundred_damaged_files(tmp_path):
    pytest.importorskip("tifffile", reason="needs the extra medical")
    kinds = [f"--only={kind}" for kind in (*IMAGES, "index")]
    script = [sys.executable, BENCHMARKS / "hostile_files.py", "--files=500", "--strict"]
    run = subprocess.run(
        [*script, f"--output={tmp_path}", *kinds], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    rows = json.loads((tmp_path / "hostile_files.json").read_text())["rows"]
    counts = {kind: row["right"] + row["sentence"] for kind, row in rows.items()}
    assert set(counts) == {*IMAGES, "index"}
    assert sum(counts.values()) > 490
    # Neither are all refused, nor all read: the damage is of the kind that it should be.
    assert all(row["right"] and row["sentence"] for row in rows.values())
    assert "| TIFF |" in (tmp_path / "hostile_files.md").read_text()
