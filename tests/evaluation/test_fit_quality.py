import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import Record
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation import fit_quality
from keras_espmedsam.evaluation.fit_quality import measure_masks
from keras_espmedsam.evaluation.quality_regression import fit_coefficients
from keras_espmedsam.imaging.mask_statistic_names import STATISTICS
from keras_espmedsam.inference.image_segmentation import SegmentsImages
from keras_espmedsam.models import ESPMedSAMImageConverter


def predicted(coefficients, statistics):
    values = coefficients["offset"] + statistics @ [coefficients[name] for name in STATISTICS]
    return 1 / (1 + np.exp(-values))


def test_the_regression_finds_what_made_its_data():
    rng = np.random.default_rng(0)
    statistics = rng.normal(size=(400, 5))
    keys = ["lungs", "heart"] * 200
    offsets = np.array([1.0, -0.5] * 200)
    dice = 1 / (1 + np.exp(-(offsets + statistics @ [1, 0, -0.5, 0, 0.3])))
    found = fit_coefficients(statistics, dice, keys, ["a"] * 400)
    assert list(found) == ["lungs", "heart"]
    for i, key in enumerate(found):
        error = predicted(found[key], statistics[i::2]) - dice[i::2]
        assert np.abs(error).max() < 0.03
    assert found["lungs"]["area"] == found["heart"]["area"]  # The targets share it.


class Disc(SegmentsImages):
    """Segments what is bright; its statistics are the mean brightness."""

    modalities = ("fundus",)
    image_converter = ESPMedSAMImageConverter(image_size=(32, 32))

    def predict_with_statistics(self, images, indices):
        values = (images[..., 0] > 0).astype("float32")
        return values, np.full((1, 1, 5), values.mean(), "float32")

    def predict_probabilities(self, images, indices):
        return self.predict_with_statistics(images, indices)[0]


def records(folder, count):
    """Bright squares, of which the truth has the upper rows: the larger, the worse."""
    found = []
    for i in range(count):
        image = np.zeros((32, 32), "uint8")
        image[: 8 + 2 * i, :16] = 255
        truth = image.copy()
        truth[8:] = 0
        paths = folder / f"{i}.png", folder / f"{i}_mask.png"
        for path, pixels in zip(paths, (image, truth), strict=True):
            Image.fromarray(pixels).save(path)
        found.append(Record("val", "fundus", "clinic", *paths))
    return found


def test_masks_are_measured_and_fitted(tmp_path):
    data = records(tmp_path, 8)
    measured = list(measure_masks(Disc(), data))
    expected = [2 * 8 / (8 + 8 + 2 * i) for i in range(8)]
    np.testing.assert_allclose([one.dice for one in measured], expected, atol=1e-6)
    assert {one[:3] for one in measured} == {("fundus", "mask", "clinic")}
    found = fit_quality(Disc(), data)["fundus"]["mask"]
    statistics = np.array([one.statistics for one in measured])
    assert np.abs(predicted(found, statistics) - expected).max() < 0.12


def test_masks_are_those_that_segment_returns(tmp_path):
    class Doubtful(Disc):
        def predict_with_statistics(self, images, indices):
            values, statistics = super().predict_with_statistics(images, indices)
            return values * np.float32(0.6), statistics

    (record,) = records(tmp_path, 1)
    model = Doubtful()
    (plain,) = measure_masks(model, [record])
    model.probability_calibration = {"fundus": {"mask": {"bias": -2.0}}}
    (biased,) = measure_masks(model, [record])
    assert (plain.dice, biased.dice) == (1, 0)  # At 0.5 the calibrated mask is empty.
    np.testing.assert_array_equal(plain.statistics, biased.statistics)


def test_too_few_images_and_exported_models_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"at most 3 masks of a target.*at least 4"):
        fit_quality(Disc(), records(tmp_path, 3))

    class Exported(SegmentsImages):
        modalities = ("fundus",)

    with pytest.raises(InputError, match="before you export"):
        fit_quality(Exported(), [])
