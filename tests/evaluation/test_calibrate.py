"""A segmenter is calibrated on labelled images, target by target, or says what is missing."""

import re

import numpy as np
import pytest
from PIL import Image

import keras_espmedsam as kem
from keras_espmedsam.data import Record, Targets
from keras_espmedsam.data.record import TargetMask
from keras_espmedsam.errors import InputError, InputWarning
from keras_espmedsam.evaluation import calibrate_targets
from keras_espmedsam.inference.image_segmentation import SegmentsImages
from keras_espmedsam.models.image_converter import NORMALIZATIONS

SIZE = (32, 32)


class Sure(SegmentsImages):
    """Reads the logits of both targets off the image's channels, and doubles them."""

    modalities = ("fundus", "xray")
    target_set = Targets({"fundus": ("vessels", "disc"), "xray": ("arteries", "veins")},
                         exclusive={"xray": [("arteries", "veins")]})  # fmt: skip
    # Neither counts when it is calibrated anew.
    postprocessing = {"fundus": {"vessels": {"min_area": 10**6}}}
    probability_calibration = {"fundus": {"vessels": {"temperature": 9.0}}}

    def __init__(self):
        self.image_converter = kem.models.ESPMedSAMImageConverter(image_size=SIZE)

    def predict_probabilities(self, images, indices):
        mean, divisor = (np.array(one) for one in NORMALIZATIONS["imagenet"])
        logits = ((images * divisor + mean)[..., :2] - 128) / 16
        return (1 / (1 + np.exp(-logits))).astype("float32")


@pytest.fixture
def records(tmp_path):
    """Makes images whose pixels are foreground with the probability that half their logit says."""

    def make(count, modality="fundus", names=("vessels",), dataset="clinic"):
        rng = np.random.default_rng(0)
        made = []
        for number in range(count):
            pixels = rng.integers(60, 196, (*SIZE, 3), dtype="uint8")
            path = tmp_path / f"{modality}_{number}.png"
            Image.fromarray(pixels).save(path)
            masks = []
            for channel, name in enumerate(names):
                p = 1 / (1 + np.exp(-(pixels[..., channel] - 128.0) / 32))
                file = tmp_path / f"{modality}_{number}_{name}.png"
                Image.fromarray((rng.random(SIZE) < p).astype("uint8") * 255).save(file)
                masks.append(TargetMask(name, file))
            made.append(Record("val", modality, dataset, path, targets=tuple(masks)))
        return made

    return make


def test_temperature_and_thresholds_are_found(records):
    progress = []
    given = records(30, names=("vessels", "disc"))
    found = calibrate_targets(
        Sure(), given, recall=0.8, false_discovery_rate=0.45, dice=0.5, progress=progress.append
    )
    assert [(one.modality, one.target) for one in found] == [
        ("fundus", "vessels"), ("fundus", "disc")]  # fmt: skip
    assert sum(progress) == 30
    for one in found:
        assert (one.num_images, one.datasets, one.refusals) == (30, ("clinic",), ())
        np.testing.assert_allclose(one.options["temperature"], 2, atol=0.2)
        assert one.after.ece < one.before.ece and one.after.brier < one.before.brier
        assert list(one.guarantees) == ["recall", "false_discovery_rate", "dice"]
        recall = one.guarantees["recall"]
        assert recall["level"] == 0.8 and recall["num_images"] == 30
        assert "confidence" not in recall and one.guarantees["dice"]["confidence"] == 0.9
        # One more image, all of it missed, would still keep to it.
        assert (30 * (1 - one.means["recall"]["recall"]) + 1) / 31 <= 0.2 + 1e-9
        assert one.means["recall"]["recall"] < 0.9  # And not by far.
        assert one.means["false_discovery_rate"]["false_discovery_rate"] <= 0.45
        assert one.means["dice"]["dice"] >= 0.5


def test_the_model_makes_the_masks_that_were_measured(records):
    given = records(12)
    (one,) = calibrate_targets(Sure(), given, recall=0.8, probabilities=False)
    model = Sure()
    model.guarantees = {"fundus": {"vessels": one.guarantees}}
    recalls, truth = [], []
    for record in given:
        mask = model.segment(
            np.array(Image.open(record.image)), "fundus", targets="vessels", guarantee="recall",
            intensity="full",
        )["masks"]  # fmt: skip
        truth = np.array(Image.open(record.mask)) > 0
        recalls.append((mask & truth).sum() / truth.sum())
    np.testing.assert_allclose(np.mean(recalls), one.means["recall"]["recall"], atol=1e-6)
    assert one.options == {}


def test_targets_that_exclude_each_other_have_no_temperature(records):
    found = calibrate_targets(Sure(), records(9, "xray", ("arteries", "veins")), recall=0.9)
    assert [one.options for one in found] == [{}, {}]
    assert all(one.guarantees["recall"]["num_images"] == 9 for one in found)


def test_a_bias_is_fitted_on_request(records):
    (one,) = calibrate_targets(Sure(), records(12), bias=True)
    assert set(one.options) == {"temperature", "bias"}


def test_what_cannot_be_guaranteed_is_said(records):
    few, enough = records(8), records(9, "xray", ("arteries",))
    needs = "Received 8 images that show vessels (fundus); recall=0.9 needs at least 9."
    with pytest.raises(InputError, match=re.escape(needs)):
        calibrate_targets(Sure(), few, recall=0.9)
    with pytest.warns(InputWarning, match=re.escape(needs)):
        found = calibrate_targets(Sure(), [*few, *enough], recall=0.9)
    assert [list(one.guarantees) for one in found] == [[], ["recall"]]
    with pytest.raises(InputError, match=r"No threshold could be shown to hold dice=0.7 of vessel"):
        calibrate_targets(Sure(), few, dice=0.7)


def test_of_an_index_the_val_split_is_used(records, tmp_path):
    lines = ["split,modality,dataset,image,mask,target"]
    for number, record in enumerate(records(3)):
        names = record.image.name, record.target_masks[0].mask.name
        lines.append(
            ",".join(("val" if number else "train", "fundus", "clinic", *names, "vessels"))
        )
    path = tmp_path / "index.csv"
    path.write_text("\n".join(lines) + "\n")
    (one,) = calibrate_targets(Sure(), path)
    assert one.num_images == 2


@pytest.mark.filterwarnings("error")
def test_without_the_target_in_any_image_there_is_no_mean_recall(records):
    given = records(4)
    for record in given:
        Image.new("L", SIZE).save(record.target_masks[0].mask)
    (one,) = calibrate_targets(Sure(), given, false_discovery_rate=0.45, probabilities=False)
    means = one.means["false_discovery_rate"]
    assert np.isnan(means["recall"]) and means["false_discovery_rate"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recall": 1}, "Received recall=1; expected a number between 0 and 1, such as 0.9"),
        ({"false_discovery_rate": 0}, "false_discovery_rate=0; expected a number between 0 and 1"),
        ({"dice": "good"}, "Received dice='good'"),
        ({"confidence": 1.0}, "Received confidence=1.0"),
        ({"probabilities": False}, "Received nothing to calibrate"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_levels_out_of_range_are_refused(records, options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        calibrate_targets(Sure(), records(1), **options)


def test_data_that_cannot_be_used_is_refused(records):
    with pytest.raises(InputError, match="Received no images to calibrate on"):
        calibrate_targets(Sure(), [])
    (record,) = records(1)
    with pytest.raises(InputError, match="without a mask"):
        calibrate_targets(Sure(), [record.without_masks()])
    with pytest.raises(InputError, match="holds the modality ct"):
        calibrate_targets(Sure(), [Record("val", "ct", "clinic", record.image, record.image)])
