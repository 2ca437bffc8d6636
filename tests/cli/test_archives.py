"""`espmedsam dicomweb` and `espmedsam watch`: what they check, print and leave behind."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.archive import FileSegmenter, Instance, Outcome
from keras_espmedsam.cli import archive_options, dicomweb, token_file, watch
from keras_espmedsam.errors import InputError
from tests.cli.conftest import BrightnessClassifier, BrightnessSegmenter

pytest.importorskip("dicomweb_client", reason="it is of the extra dicom")
URL = ("--url", "http://127.0.0.1:9/dicom-web")


@pytest.fixture
def loaded(monkeypatch):
    """The commands load a segmenter without Keras."""
    monkeypatch.setattr(archive_options, "check_name", lambda preset: None)
    monkeypatch.setattr(archive_options, "load_segmenter", lambda preset: BrightnessSegmenter())
    monkeypatch.setattr(archive_options, "load_recognizer", lambda preset: BrightnessClassifier())


@pytest.fixture
def archive(monkeypatch):
    """What the archive has, and what becomes of it."""
    instances = [Instance("1.2", "1.3", f"1.4.{i}", "US") for i in range(3)]
    found = {"instances": [*instances, Instance("1.2", "1.3", "1.5", "SR")], "outcomes": []}

    class Archive:
        def __init__(self, url, token, seconds):
            found["token"] = token

        def find(self, study, series, query):
            found["asked"] = study, series, query
            return found["instances"]

    def segment_archive(archive, given, *options):
        found["given"], found["options"] = given, options[1:]
        return iter(found["outcomes"])

    monkeypatch.setattr(dicomweb, "DicomWebArchive", Archive)
    monkeypatch.setattr(dicomweb, "segment_archive", segment_archive)
    return found


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--study", "1.2"), "neither --output nor --store"),
        (("--store",), "no --study"),
        (("--store", "--series", "1.3", "--query", "Modality=US"), "no --study"),
        (("--store", "--study", "1.2", "--query", "Modality"), "--query 'Modality'; expected KEY="),
        (("--store", "--study", "1.2", "--token-file", "no.txt"), "token file no.txt cannot be"),
    ],
)
def test_wrong_use_of_dicomweb(run, arguments, sentence):
    result = run("dicomweb", *URL, *arguments)
    assert result.exit_code == 2 and sentence in " ".join(result.stderr.split())


def test_dicomweb_tells_what_became_of_each_image(run, loaded, archive, tmp_path, monkeypatch):
    one, two, three = archive["instances"][:3]
    archive["outcomes"] = [
        Outcome(one, written=(tmp_path / "1.4.0_seg.dcm",), stored=1),
        Outcome(two, error=InputError("1.4.1 is damaged.")),
        Outcome(three, there=True),
    ]
    monkeypatch.setenv(dicomweb.TOKEN_VARIABLE, "s3cret")
    options = ("--study", "1.2", "--query", "Modality=US", "--query", "SeriesNumber=2", "--store")
    result = run("dicomweb", *URL, *options, "--output", tmp_path)
    assert result.exit_code == 1, result.output
    assert archive["asked"] == ("1.2", None, {"Modality": "US", "SeriesNumber": "2"})
    assert archive["given"] == [one, two, three] and archive["token"] == "s3cret"
    assert result.stdout.strip().endswith("1.4.0_seg.dcm")
    assert "error: 1.4.1: 1.4.1 is damaged." in result.stderr
    told = "1 of 3 images segmented; 1 were done already, 0 hold no image, 1 failed."
    assert told in " ".join(result.stderr.split())
    archive["outcomes"] = [Outcome(one, error=InputError("cut."))]
    assert run("dicomweb", *URL, *options).exit_code == 2
    archive["instances"] = [archive["instances"][3]]
    assert "no such images" in run("dicomweb", *URL, *options).stderr


def test_the_token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(" s3cret\n")
    assert token_file.read_token(path, "NO_SUCH_VARIABLE") == "s3cret"
    assert token_file.read_token(None, "NO_SUCH_VARIABLE") is None


def test_watch_once(run, loaded, tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(np.full((7, 9), 200, "uint8")).save(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").write_bytes((tmp_path / "in/a.png").read_bytes()[:30])
    options = ("--output", tmp_path / "out", "--once", "--seconds", "0.05")
    result = run("watch", tmp_path / "in", *options, "--modality", "fundus")
    assert result.exit_code == 1, result.output
    assert result.stdout.split() == [str(tmp_path / "out/a_mask.png")]
    assert "1 files segmented" in result.stderr and "1 failed" in result.stderr
    assert run("watch", tmp_path / "in", *options, "--modality", "fundus").exit_code == 0
    result = run("watch", tmp_path / "in", *options, "--modality", "mri")
    assert result.exit_code == 2 and "mri" in result.stderr


_PROGRAM = """
import sys
from keras_espmedsam.archive import FileSegmenter
from keras_espmedsam.cli import archive_options, main, watch
from tests.cli.conftest import BrightnessSegmenter
watch.file_segmenter = lambda *options: FileSegmenter(BrightnessSegmenter(), None, "fundus")
main.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a program without a signal")
def test_watch_ends_cleanly_on_sigterm(tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(np.full((7, 9), 200, "uint8")).save(tmp_path / "in/a.png")
    command = ["watch", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--seconds", ".05"]
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        end = time.monotonic() + 60
        while not list(tmp_path.glob("out/.espmedsam-watch.json")):
            assert program.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        program.send_signal(signal.SIGTERM)
        output, errors = program.communicate(timeout=30)
    assert program.returncode == 143, errors
    assert output.split() == [str(tmp_path / "out/a_mask.png")]
    told = " ".join(errors.split())
    assert "Ended by SIGTERM: 1 files are segmented" in told and "Traceback" not in told
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("a_mask.png", ".espmedsam-watch.json")
    }


def test_file_segmenter_takes_the_options(loaded):
    found = archive_options.file_segmenter(
        *("espmedsam_nano_256", "tic_tiny_modality", None, None, None, True, True, False)
    )
    assert isinstance(found, FileSegmenter) and found.dicom.report
    assert found.dicom.model.name == "espmedsam_nano_256"
    assert watch.file_segmenter is archive_options.file_segmenter
