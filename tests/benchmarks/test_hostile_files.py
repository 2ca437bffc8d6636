"""Damaged files of every kind that needs no backend, in a worker with limits."""

import io
import json
import random
import struct
import subprocess
import sys
import zipfile

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


def test_every_kind_is_made_read_and_counted(load, seeds, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    files, readers = load("hostile_files"), load("hostile_readers")
    assert set(files.SHARES) == set(readers.READERS)
    assert set(seeds.DAMAGE) <= set(files.SHARES)
    assert set(seeds.DAMAGE.values()) <= set(seeds._OWN)


def test_archives_and_headers_stay_whole_around_the_damage(seeds):
    rng = random.Random(0)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a", b'{"a": 1}' + b"numbers" * 99)
    read = set()
    for _ in range(20):
        with zipfile.ZipFile(
            io.BytesIO(seeds._archive_member(made.getvalue(), rng, []))
        ) as archive:
            read |= {archive.read(name) for name in archive.namelist()}
    assert len(read) > 10  # each with a checksum of its own
    header = b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
    tensors = struct.pack("<Q", len(header)) + header + bytes(4)
    for _ in range(20):
        changed = seeds._checkpoint_part(tensors, rng, [])
        (size,) = struct.unpack_from("<Q", changed)
        json.loads(changed[8 : 8 + size])
        assert len(changed) == 8 + size + 4


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
