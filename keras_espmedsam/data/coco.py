"""Write objects as COCO JSON, the annotations that detectors are trained and measured with."""

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from keras_espmedsam._files import atomic_path
from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.stored_masks import checked_numbers, checked_objects, stored_mask
from keras_espmedsam.imaging.polygons import objects_in


@dataclasses.dataclass(frozen=True)
class CocoImage:
    """The objects of one image, encoded: some bytes for each, so that thousands can wait.

    Args:
        file_name: the image's name in the file.
        size: height and width in pixels, as stored.
        modality: the image's modality; empty if there is only one.
        annotations: dict of target to the annotations of its objects.

    Example:
        >>> image = coco_image("cells.png", {"nuclei": np.array([[1, 1, 0, 2]])})
        >>> image.annotations["nuclei"][0]["bbox"], image.annotations["nuclei"][0]["area"]
        ([0, 0, 2, 1], 2)
    """

    file_name: str
    size: tuple[int, int]
    modality: str
    annotations: Mapping[str, list[dict[str, Any]]]


def coco_image(
    file_name: str,
    objects: Mapping[str, np.ndarray],
    reference: DecodedImage | None = None,
    modality: str = "",
) -> CocoImage:
    """Encode the objects of one image, for `write_coco`.

    Args:
        file_name: the image's name, as it will be looked for.
        objects: dict of target to `(height, width)`: a label image of integers, 0 for the
            background and a number for each object, or a mask of bool, which is one object. At
            least one target.
        reference: the image that was segmented, whose orientation the objects get; see
            `keras_espmedsam.data.write_mask`.
        modality: the image's modality, the supercategory of its targets.

    Raises:
        InputError: for arrays of another type or shape, of another size than the reference, or
            with negative numbers.

    Example:
        >>> coco_image("eye.jpg", {"disc": np.array([[False, True]])}).size
        (1, 2)
    """
    found, size = {}, (0, 0)
    for target, labels in checked_objects(objects).items():
        labels, _ = stored_mask(np.asarray(labels), reference, "label image")
        labels, size = checked_numbers(labels), labels.shape
        found[target] = [
            {
                "segmentation": {
                    "size": list(size),
                    "counts": _encoded(_run_lengths(inside, rows.start, columns.start, size)),
                },
                "area": int(np.count_nonzero(inside)),
                "bbox": [
                    *(columns.start, rows.start),
                    *(columns.stop - columns.start, rows.stop - rows.start),
                ],
                "iscrowd": 0,
            }
            for _, rows, columns, inside in objects_in(labels)
        ]
    return CocoImage(file_name, size, modality, found)


def write_coco(path: str | os.PathLike, images: Iterable[CocoImage]) -> None:
    """Write the objects of images as COCO JSON, completely or not at all.

    Each object has its pixels as compressed run lengths, which pycocotools, Detectron2 and
    MMDetection read. They are exact, where COCO's polygons have no holes and are rounded.

    Args:
        path: the file. An existing one is replaced.
        images: results of `coco_image`. Images, categories and annotations are numbered from 1 in
            this order. A category is a target; if several modalities have one of the same name,
            `MODALITY/TARGET`.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/cells.json"
        >>> write_coco(path, [coco_image("cells.png", {"nuclei": np.array([[1, 1, 0, 2]])})])
        >>> content = json.load(open(path))
        >>> len(content["annotations"]), content["categories"]
        (2, [{'id': 1, 'name': 'nuclei'}])

    Source: Lin et al., Microsoft COCO (arXiv 1405.0312), and pycocotools for the encoding.
    """
    images = list(images)
    keys = list(
        dict.fromkeys((one.modality, target) for one in images for target in one.annotations)
    )
    modalities_with = Counter(target for _, target in keys)
    categories = []
    for number, (modality, target) in enumerate(keys, 1):
        name = target if modalities_with[target] == 1 else f"{modality}/{target}"
        above = {"supercategory": modality} if modality else {}
        categories.append({"id": number, "name": name, **above})
    numbers = {key: number for number, key in enumerate(keys, 1)}
    annotations: list[dict[str, Any]] = []
    for image_number, one in enumerate(images, 1):
        for target, own in one.annotations.items():
            for annotation in own:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_number,
                        "category_id": numbers[one.modality, target],
                        **annotation,
                    }
                )
    content = {
        "images": [
            {"id": number, "file_name": one.file_name, "width": one.size[1], "height": one.size[0]}
            for number, one in enumerate(images, 1)
        ],
        "categories": categories,
        "annotations": annotations,
    }
    with atomic_path(path) as temporary:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file)
            file.write("\n")


def _run_lengths(inside, top, left, size):
    """Return the lengths of runs of 0 and 1 down the columns of the image, beginning with 0."""
    height, width = size
    columns, rows = np.nonzero(inside.T)
    place = (columns + left) * height + rows + top
    breaks = np.flatnonzero(np.diff(place) > 1)
    starts = place[np.concatenate([[0], breaks + 1])]
    stops = place[np.concatenate([breaks, [place.size - 1]])] + 1
    edges = np.stack([starts, stops], axis=1).ravel()
    lengths = np.diff(edges, prepend=0).tolist()
    rest = height * width - int(edges[-1])
    return [*lengths, rest] if rest else lengths


def _encoded(lengths):
    """Encode run lengths as pycocotools does: differences in groups of five bits."""
    text = []
    for number, value in enumerate(lengths):
        if number > 2:
            value -= lengths[number - 2]
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text.append(chr((bits | 32 * more) + 48))
    return "".join(text)
