"""A metric of another package: in `evaluate`, in the report and in the table of the images."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from keras_espmedsam import registries
from keras_espmedsam.cli import evaluate as command
from keras_espmedsam.cli.app import app
from keras_espmedsam.data.record import Record
from keras_espmedsam.evaluation import evaluate

PLUGIN = """
def volume_difference(truth, prediction):
    return (int(prediction.sum()) - int(truth.sum())) / int(truth.sum())
"""
DICE = 2 * 1 / (2 + 1)
HALF_AND_QUARTER = (np.array([[255, 255, 0, 0]]), np.array([[255, 0, 0, 0]]))


class Brightness:
    """Says that everything brighter than half is foreground."""

    modalities = ("xray",)

    def segment(self, images, modalities, threshold=0.5, batch_size=8, **_):
        probabilities = [image.astype("float32") / 255 for image in images]
        return {"masks": [p >= threshold for p in probabilities], "probabilities": probabilities}


@pytest.fixture
def record(tmp_path):
    for name, array in zip(("1.png", "mask.png"), HALF_AND_QUARTER, strict=True):
        Image.fromarray(array.astype("uint8")).save(tmp_path / name)
    return Record("test", "xray", "lungs", tmp_path / "1.png", tmp_path / "mask.png")


def test_an_installed_metric_on_the_command_line(installed_plugin, record, tmp_path, monkeypatch):
    installed_plugin(
        {"volumes.py": PLUGIN}, {"metrics": {"volume_difference": "volumes:volume_difference"}}
    )
    monkeypatch.setattr(command, "load_segmenter", lambda preset, *options: Brightness())
    (tmp_path / "index.csv").write_text(
        "split,modality,dataset,image,mask\ntest,xray,lungs,1.png,mask.png\n"
    )
    report, table = tmp_path / "report.json", tmp_path / "images.csv"
    arguments = ["evaluate", "--data", tmp_path / "index.csv", "--metric", "volume_difference"]
    arguments += ["--metric", "dice", "--output", report, "--per-image", table]
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output
    lungs = json.loads(report.read_text())["datasets"]["lungs"]
    assert list(lungs)[3:] == ["volume_difference", "dice"]
    assert lungs["volume_difference"] == {"mean": 1.0, "std": 0.0}
    assert lungs["dice"]["mean"] == pytest.approx(DICE)
    (row,) = csv.DictReader(table.read_text().splitlines())
    assert float(row["volume_difference"]) == 1 and list(row)[-2:] == ["volume_difference", "dice"]
    result = CliRunner().invoke(app, [*map(str, arguments[:3]), "--metric", "volume_diference"])
    assert result.exit_code == 2 and "did you mean volume_difference?" in result.stderr


def test_an_installed_metric_in_python(installed_plugin, record):
    installed_plugin({"volumes.py": PLUGIN}, {"metrics": {"volume": "volumes:volume_difference"}})
    found = evaluate(Brightness(), [record], metrics=["volume"])["datasets"]["lungs"]
    assert found["volume"]["mean"] == 1
    # What is installed changes no report that does not ask for it.
    assert "volume" not in evaluate(Brightness(), [record])["datasets"]["lungs"]


def test_a_registered_metric(record):
    registries.metrics.register("missed", lambda truth, prediction: (truth & ~prediction).sum())
    try:
        found = evaluate(Brightness(), [record], metrics=["missed", "recall"])["datasets"]["lungs"]
    finally:
        registries.metrics.unregister("missed")
    assert (found["missed"]["mean"], found["recall"]["mean"]) == (0, 1)
