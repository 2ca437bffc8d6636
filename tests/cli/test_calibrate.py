"""`espmedsam calibrate` says what it found, and writes a preset or nothing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keras_espmedsam as kem
from keras_espmedsam.cli import calibrate
from keras_espmedsam.inference.image_segmentation import SegmentsImages


class Bright(SegmentsImages):
    """Foreground is what is bright; `calibrate` is the real one, and nothing is loaded."""

    modalities = ("fundus", "xray")
    run_eagerly = True

    def __init__(self):
        self.image_converter = kem.models.ESPMedSAMImageConverter(image_size=(32, 32))
        self.options = self.fitted = None
        self.scope = {"fundus": [1.0, 0.5, 0.5]}
        self.outputs = []

    def predict_probabilities(self, images, indices):
        return (0.5 + images[..., 0] / 8).clip(0, 1).astype("float32")

    def calibrate(self, records, outputs, **options):
        self.outputs.append(outputs)
        self.options = {**options, "progress": None}
        return kem.evaluation.calibrate_targets(self, records, **options)

    def with_scope(self, scope):
        self.scope = scope
        return self

    def embedding_model(self):
        return self

    def model_inputs(self, images, indices):
        return images

    def predict_on_batch(self, images):
        return images[..., :1]

    def fit_quality(self, records, outputs, max_pixels, progress):
        self.outputs.append(outputs)
        self.fitted = len(records)
        progress(records[0])
        return self


@pytest.fixture
def loaded(monkeypatch):
    fake, written = Bright(), []
    monkeypatch.setattr(calibrate, "check_preset", lambda preset: None)
    monkeypatch.setattr(calibrate, "load_segmenter", lambda preset: fake)
    monkeypatch.setattr(calibrate, "origins_of", lambda preset, part: [preset, part])

    def write(segmenter, output, origins):
        written.append((segmenter, output, origins))
        return f"Wrote the preset {output}"

    monkeypatch.setattr(calibrate, "write_preset", write)
    fake.written = written
    return fake


@pytest.fixture
def index(tmp_path):
    lines = ["split,modality,dataset,image,mask"]
    half = np.zeros((32, 32), "uint8")
    half[:, 16:] = 255
    for number in range(10):
        Image.fromarray(half).save(tmp_path / f"{number}.png")
        modality = "fundus" if number < 9 else "xray"
        lines.append(f"val,{modality},{modality}_clinic,{number}.png,{number}.png")
    path = tmp_path / "index.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_table_and_a_preset(run, loaded, index):
    result = run(
        "calibrate", "--data", index, "--output", "new", "--recall", "0.9", "--preset", "P"
    )
    assert result.exit_code == 0, result.output
    assert loaded.written == [(loaded, Path("new"), ["P", "model"])]
    assert loaded.options["recall"] == 0.9 and loaded.options["probabilities"] is True
    lines = [line.split() for line in result.stdout.splitlines()]
    (row,) = (line for line in lines if line[:1] == ["fundus"])
    assert row[:3] == ["fundus", "mask", "9"]
    assert row[-7:-4] == ["recall", ">=", "0.9"] and row[-3:] == ["1.000", "0.000", "1.000"]
    (few,) = (line for line in lines if line[:1] == ["xray"])
    assert few[:3] == ["xray", "mask", "1"] and ">=" not in few
    assert "Received 1 image that shows mask (xray); recall=0.9 needs at least 9." in result.stderr


def test_options_reach_it(run, loaded, index):
    result = run(
        *("calibrate", "--data", index, "--output", "new", "--dice", "0.5", "--bias"),
        *("--false-discovery-rate", "0.4", "--confidence", "0.8", "--no-probabilities"),
        *("--dataset", "fundus_clinic", "--batch-size", "3"),
    )
    assert result.exit_code == 0, result.output
    wanted = {"recall": None, "false_discovery_rate": 0.4, "dice": 0.5, "confidence": 0.8}
    wanted |= {"probabilities": False, "bias": True, "batch_size": 3}
    assert wanted.items() <= loaded.options.items()
    assert "xray" not in result.stdout


def test_the_prediction_of_quality_is_fitted_alone(run, loaded, index):
    given = ("calibrate", "--data", index, "--output", "new", "--no-probabilities", "--quality")
    result = run(*given)
    assert result.exit_code == 0, result.output
    assert loaded.options is None and loaded.fitted == 10 and not result.stdout.strip()
    assert [output for _, output, _ in loaded.written] == [Path("new")]
    assert loaded.outputs == [None]
    assert run(*given, "--dice", "0.5").exit_code == 0
    assert loaded.options["dice"] == 0.5 and loaded.options["probabilities"] is False
    # Both take what the network gives from one place.
    _, first, second = loaded.outputs
    assert isinstance(first, kem.evaluation.RememberedOutputs) and first is second


def test_the_threshold_of_the_scope_is_moved_alone(run, loaded, index, monkeypatch):
    given = ("calibrate", "--data", index, "--output", "new", "--no-probabilities", "--scope")
    result = run(*given)
    assert result.exit_code == 2 and "give at least 19" in " ".join(result.stderr.split())
    moved = [kem.evaluation.ScopeThreshold("fundus", 40, 18, 0, [-2.0, 0.5, 0.5])]
    monkeypatch.setattr(kem.evaluation, "fit_scope_threshold", lambda *args, **options: moved)
    result = run(*given)
    assert result.exit_code == 0, result.output
    assert loaded.options is None and loaded.scope == {"fundus": [-2.0, 0.5, 0.5]}
    said = "fundus: 18 of 40 images were out of scope, and 0 are now."
    assert said in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--recall", "0.95"], "needs at least 19"),
        (["--recall", "2"], "Received recall=2; expected a number between 0 and 1"),
        (["--split", "test"], "test"),
        (["--no-probabilities"], "leaves nothing to do"),
        (["--quality", "--dataset", "xray_clinic"], "Received at most 1 masks of a target"),
        (["--preset", "eye.onnx", "--recall", "0.9"], "calibrate the preset it was made from"),
    ],
)
def test_nothing_is_written_otherwise(run, loaded, index, options, words):
    result = run("calibrate", "--data", index, "--output", "new", *options)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert not loaded.written and not Path("new").exists()


def test_an_output_that_exists_is_refused_before_anything(run, loaded, index, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "note.txt").touch()
    result = run("calibrate", "--data", index, "--output", "new")
    assert result.exit_code == 2 and "is not empty" in result.stderr
    assert loaded.options is None


def test_a_guarantee_and_a_threshold_contradict_each_other(run, segmenter, image):
    result = run("segment", image("a.png"), "--guarantee", "recall", "--threshold", "0.3")
    assert result.exit_code == 2 and "--guarantee with --threshold" in result.stderr
    result = run("segment", image("a.png"), "--guarantee", "recall", "--mirror")
    assert result.exit_code == 2 and "--guarantee with --mirror" in result.stderr
    result = run("segment", image("a.png"), "--guarantee", "recall", "--scales", "1,1.25")
    assert result.exit_code == 2 and "--guarantee with --scales" in result.stderr
    result = run("segment", image("a.png"), "--modality", "xray", "--guarantee", "recalls")
    assert result.exit_code == 2 and "did you mean recall?" in result.stderr
    result = run("segment", image("a.png"), "--modality", "xray", "--guarantee", "recall")
    assert result.exit_code == 2
    assert "does not have for mask of xray" in " ".join(result.stderr.split())
