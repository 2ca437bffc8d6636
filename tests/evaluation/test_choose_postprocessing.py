"""What is done to masks after the model is chosen by what it gains, and only if it gains."""

import numpy as np
import pytest
from PIL import Image

import keras_espmedsam as kem
from keras_espmedsam.data import Record, Targets
from keras_espmedsam.data.record import TargetMask
from keras_espmedsam.evaluation.choose_postprocessing import (
    choose_postprocessing,
    postprocessing_of,
)
from keras_espmedsam.inference.image_segmentation import SegmentsImages


class Bright(SegmentsImages):
    """Says that everything bright is foreground, of each target in a colour; counts its images."""

    modalities = ("fundus", "microscopy")
    target_set = Targets(
        {"fundus": ("vessels", "disc"), "microscopy": ("nuclei",)},
        instances={"microscopy": {"nuclei": "components"}},
    )
    postprocessing = {"fundus": {"disc": {"min_area": 500}}}

    def __init__(self):
        self.image_converter = kem.models.ESPMedSAMImageConverter(image_size=(32, 32))
        self.computed = 0

    def predict_probabilities(self, images, indices):
        self.computed += len(images)
        return (images[..., :2] > 0).astype("float32")


@pytest.fixture
def make_record(tmp_path):
    """Makes a record of an image, and of the true mask of each of some targets."""

    def make(modality, image, dataset="clinic", instances=None, **masks):
        number = len(list(tmp_path.iterdir()))
        Image.fromarray(np.stack(image, axis=-1).astype("uint8") * 255).save(
            path := tmp_path / f"{number}.png"
        )
        targets = []
        for name, mask in masks.items():
            file = tmp_path / f"{number}_{name}.png"
            Image.fromarray(mask.astype("uint8") * 255).save(file)
            objects = None
            if instances is not None:
                objects = tmp_path / f"{number}_objects.png"
                Image.fromarray(instances.astype("uint8")).save(objects)
            targets.append(TargetMask(name, file, objects))
        return Record("val", modality, dataset, path, targets=tuple(targets))

    return make


NOTHING = np.zeros((32, 32), bool)


def rectangle(top, left, height, width):
    mask = NOTHING.copy()
    mask[top : top + height, left : left + width] = True
    return mask


def test_each_target_gets_what_it_needs(make_record):
    disc = rectangle(4, 4, 14, 14)
    records = []
    for row in (20, 24, 28):
        # In red, vessels as they are; in green a disc with a hole, and a false patch.
        vessels = rectangle(row, 0, 1, 32)
        drawn = (disc & ~rectangle(8, 8, 3, 3)) | rectangle(22, 22, 6, 6)
        records.append(make_record("fundus", (vessels, drawn, NOTHING), vessels=vessels, disc=disc))
    model = Bright()
    found = choose_postprocessing(model, records)
    assert [(one.target, one.measure, one.num_images) for one in found] == [
        ("vessels", "dice", 3),
        ("disc", "dice", 3),
    ]
    vessels, disc = found
    assert (vessels.options, vessels.before, vessels.after) == ({}, 1, 1)
    # Removing the patch gains more than filling the hole; both together are right.
    assert disc.options == {"min_area": 64, "fill_holes": True} and disc.after == 1
    assert disc.before == pytest.approx(2 * 187 / (196 + 187 + 36))
    assert postprocessing_of(found) == {"fundus": {"disc": disc.options}}
    # Each image was computed once, whatever was tried, and the model's own rules stayed out.
    assert model.computed == 3


def test_what_helps_by_chance_is_not_chosen(make_record):
    true, speck = rectangle(4, 4, 10, 10), rectangle(28, 28, 1, 2)
    helped = make_record("fundus", (true | speck, NOTHING, NOTHING), vessels=true)
    same = [make_record("fundus", (true, NOTHING, NOTHING), vessels=true) for _ in range(4)]
    (chosen,) = choose_postprocessing(Bright(), [helped])
    assert chosen.options == {"min_area": 4}
    # One of five images is improved: resampled, it is often not there.
    (chosen,) = choose_postprocessing(Bright(), [helped, *same])
    assert chosen.options == {} and chosen.before == chosen.after
    (chosen,) = choose_postprocessing(Bright(), [helped], min_gain=0.5)
    assert chosen.options == {}


def test_each_data_set_counts_once(make_record):
    # In one set a speck is false, in the other one, of fewer images, specks are all that there is.
    true, speck = rectangle(4, 4, 10, 10), rectangle(28, 28, 2, 2)
    both = speck | rectangle(20, 28, 2, 2)
    records = [make_record("fundus", (true | speck, NOTHING, NOTHING), vessels=true)] * 3
    records.append(make_record("fundus", (both, NOTHING, NOTHING), "other", vessels=both))
    (chosen,) = choose_postprocessing(Bright(), records)
    assert chosen.options == {}
    assert chosen.before == pytest.approx((200 / 204 + 1) / 2)


def test_objects_are_compared_by_panoptic_quality(make_record):
    nucleus = rectangle(4, 4, 10, 10)
    image = nucleus | rectangle(20, 20, 1, 4)  # Too small to matter for Dice.
    record = make_record("microscopy", (image,) * 3, nuclei=nucleus, instances=nucleus)
    (chosen,) = choose_postprocessing(Bright(), [record])
    assert (chosen.measure, chosen.options) == ("pq", {"min_area": 8})
    assert (chosen.before, chosen.after) == (pytest.approx(2 / 3), 1)
