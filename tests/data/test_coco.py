import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from keras_espmedsam.data import read_image
from keras_espmedsam.data.coco import coco_image, write_coco
from keras_espmedsam.errors import InputError


def opened(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(path)


def label_images():
    rng = np.random.default_rng(0)
    yield np.array([[0, 1, 1, 0, 2], [0, 1, 0, 0, 2], [3, 3, 3, 3, 3]])
    yield rng.integers(0, 3, (37, 23)).astype(np.uint16)
    yield (rng.random((9, 70)) < 0.9) * 70_000
    yield np.ones((5, 6), np.int32)
    yield np.zeros((5, 6), np.int32)
    wide = np.zeros((3, 2000), np.int64)  # Long runs take several characters.
    wide[:, 0] = wide[1, 1500:] = 1
    yield wide


def test_pycocotools_decodes_the_same_pixels(tmp_path):
    given = {f"{number}.png": labels for number, labels in enumerate(label_images())}
    path = tmp_path / "cells.json"
    write_coco(path, [coco_image(name, {"nuclei": one}) for name, one in given.items()])
    coco = opened(path)
    assert len(coco.imgs) == len(given)
    for image in coco.loadImgs(coco.getImgIds()):
        labels = given[image["file_name"]]
        assert (image["height"], image["width"]) == labels.shape
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        numbers = [number for number in np.unique(labels) if number]
        assert len(annotations) == len(numbers)
        for annotation, number in zip(annotations, numbers, strict=True):
            inside = labels == number
            assert (coco.annToMask(annotation) == inside).all()
            assert annotation["area"] == inside.sum()
            rows, columns = np.nonzero(inside)
            x, y, width, height = annotation["bbox"]
            assert (x, y) == (columns.min(), rows.min())
            assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)
            assert annotation["iscrowd"] == 0


def test_the_encoding_is_that_of_pycocotools():
    from pycocotools import mask

    for labels in label_images():
        found = coco_image("", {"nuclei": labels}).annotations["nuclei"]
        for annotation, number in zip(found, np.unique(labels[labels != 0]), strict=True):
            expected = mask.encode(np.asfortranarray(labels == number, np.uint8))
            assert annotation["segmentation"]["counts"] == expected["counts"].decode()
            assert annotation["segmentation"]["size"] == expected["size"]
            assert annotation["bbox"] == mask.toBbox(expected).tolist()
            assert annotation["area"] == mask.area(expected)


def test_categories_are_targets_also_those_without_an_object(tmp_path):
    mask = np.ones((2, 3), bool)
    images = [
        coco_image("chest.png", {"lungs": mask, "heart": ~mask}, modality="xray"),
        coco_image("skin.png", {"lesion": mask}, modality="dermoscopy"),
        coco_image("breast.png", {"lesion": mask}, modality="ultrasound"),
        coco_image("eye.png", {"disc": mask}),
    ]
    write_coco(tmp_path / "all.json", iter(images))
    coco = opened(tmp_path / "all.json")
    assert coco.dataset["categories"] == [
        {"id": 1, "name": "lungs", "supercategory": "xray"},
        {"id": 2, "name": "heart", "supercategory": "xray"},
        {"id": 3, "name": "dermoscopy/lesion", "supercategory": "dermoscopy"},
        {"id": 4, "name": "ultrasound/lesion", "supercategory": "ultrasound"},
        {"id": 5, "name": "disc"},
    ]
    found = [(one["id"], one["image_id"], one["category_id"]) for one in coco.anns.values()]
    assert found == [(1, 1, 1), (2, 2, 3), (3, 3, 4), (4, 4, 5)]


def test_what_was_written_can_be_scored_as_the_truth(tmp_path):
    from pycocotools.cocoeval import COCOeval

    labels = next(label_images()).repeat(8, 0).repeat(8, 1)
    write_coco(tmp_path / "truth.json", [coco_image("a.png", {"nuclei": labels})])
    truth = opened(tmp_path / "truth.json")
    results = [{**one, "score": 0.9} for one in truth.dataset["annotations"]]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == 1


def test_no_images_and_no_objects(tmp_path):
    write_coco(tmp_path / "none.json", [])
    assert json.loads((tmp_path / "none.json").read_text()) == {
        "images": [],
        "categories": [],
        "annotations": [],
    }


def test_objects_lie_on_the_stored_image(tmp_path, save):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = read_image(save(np.zeros((6, 9), np.uint8), "photo.jpg", exif=exif))
    labels = np.zeros(image.size, int)
    labels[:2, :3] = 1
    found = coco_image("photo.jpg", {"nuclei": labels}, image)
    assert found.size == (6, 9)
    write_coco(tmp_path / "photo.json", [found])
    coco = opened(tmp_path / "photo.json")
    assert (coco.annToMask(coco.anns[1]) == image.layout.undo(labels)).all()
    with pytest.raises(InputError, match=r"label image of shape \(2, 2\) for"):
        coco_image("photo.jpg", {"nuclei": labels[:2, :2]}, image)
    with pytest.raises(InputError, match="type float64; expected integers"):
        coco_image("photo.jpg", {"nuclei": labels / 2})
    with pytest.raises(InputError, match="Received labels from -1 to 0; expected 0 for the backgr"):
        coco_image("photo.jpg", {"nuclei": labels - 1})
