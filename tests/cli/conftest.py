"""A segmenter without a network, so that the command line is tested in milliseconds."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from keras_espmedsam.cli import evaluate, segment
from keras_espmedsam.cli.app import app
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.content import is_blank
from keras_espmedsam.imaging.pixels import to_rgb
from keras_espmedsam.inference.chosen_targets import target_set_of
from keras_espmedsam.inference.precision import check_precision


class BrightnessSegmenter:
    """Foreground is what is brighter than the threshold; `batches` holds the sizes it was given."""

    modalities = ("xray", "fundus")
    intensity = "auto"

    def __init__(self):
        self.batches = []
        self.options = []

    def segment(
        self, images, modalities, threshold=0.5, batch_size=8, mirror=False, intensity=None
    ):
        self.mirror = mirror
        self.batches.append(len(images))
        self.options.append((list(modalities), threshold, batch_size))
        if any(image.shape[:2] == (13, 13) for image in images):
            raise InputError("Received an image of 13 x 13; such images bring bad luck.")
        unit = [to_rgb(image, intensity or self.intensity)[..., 0] for image in images]
        blank = [is_blank(to_rgb(image)) for image in images]
        return {"masks": [u >= threshold for u in unit], "probabilities": unit, "blank": blank}


class BrightnessClassifier:
    """Tells images apart by their first pixel: below 100 an X-ray, up to 199 fundus, then MRI.

    The last digit of the pixel is how sure it is, in tenths; 0 is entirely.
    """

    class_names = ("xray", "fundus", "mri")
    min_confidence = 0.75

    def __init__(self):
        self.batches = []

    def classify(self, images, batch_size=32):
        self.batches.append(len(images))
        if any(image.shape[:2] == (13, 13) for image in images):
            raise InputError("Received an image of 13 x 13; such images bring bad luck.")
        rows = []
        for image in images:
            pixel = int(image.flat[0])
            sure = (pixel % 10) / 10 or 1.0
            row = np.full(3, (1 - sure) / 2)
            row[pixel // 100] = sure
            rows.append(row)
        best = [int(np.argmax(row)) for row in rows]
        confidences = [float(np.max(row)) for row in rows]
        return {
            "class_names": [self.class_names[i] for i in best],
            "confidences": confidences,
            "probabilities": rows,
            "confident": [value >= self.min_confidence for value in confidences],
        }


@pytest.fixture
def segmenter(monkeypatch):
    """The fake, which both commands load whatever preset is asked for; `loaded` lists these."""
    fake = BrightnessSegmenter()
    fake.loaded = []

    def load(preset, precision=None, trust=False):
        fake.loaded.append(preset)
        fake.precision = precision or "float32"
        return fake

    def check(preset, precision=None):
        check_precision(precision)

    monkeypatch.setattr(segment, "check_preset", check)
    monkeypatch.setattr(evaluate, "check_preset", check)
    monkeypatch.setattr(segment, "stored_targets", lambda preset: target_set_of(fake))
    monkeypatch.setattr(segment, "load_segmenter", load)
    monkeypatch.setattr(evaluate, "load_segmenter", load)
    return fake


@pytest.fixture
def classifier(monkeypatch, segmenter):
    """The fake that recognises modalities; `segmenter.loaded` lists its presets too."""
    fake = BrightnessClassifier()

    def load(preset):
        segmenter.loaded.append(preset)
        return fake

    monkeypatch.setattr(segment, "load_recognizer", load)
    return fake


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run `espmedsam ARGUMENTS...` in a temporary folder."""
    monkeypatch.chdir(tmp_path)

    def run_command(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run_command


@pytest.fixture
def image(tmp_path):
    """Write an image whose right half is bright, and return its path."""

    def write(name, size=(4, 6), dark=0, **options):
        array = np.full(size, dark, np.uint8)
        array[:, size[1] // 2 :] = 200
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path, **options)
        return path

    return write
