"""Batches of raw pictures, modalities and masks from files."""

import keras
import numpy as np

from keras_espmedsam.data import read_mask, read_picture
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.pixels import to_rgb
from keras_espmedsam.imaging.placement import RESIZE_MODES, Placement
from keras_espmedsam.training.augmentation import FILL, Augmentation

MODES = (*RESIZE_MODES, "native")
# Draws a picture on a canvas and changes nothing.
PLACED = Augmentation(
    horizontal_flip=0,
    rotation=0,
    scale=(1, 1),
    shift=0,
    stretch=0,
    brightness=0,
    contrast=0,
    saturation=0,
)


class SegmentationDataset(keras.utils.PyDataset):
    """Pictures of an index as batches for `ESPMedSAMImageSegmenter.fit`.

    All pictures are read once, placed on a canvas of `image_size` and kept as uint8. With
    `steps`, an epoch is that many batches of pictures drawn at random, data set by data set in
    the proportions of `weights`; without, it is every picture once, in order.

    No picture is resized with `resize_mode="native"`: it is kept at its own size, and its
    augmentation draws it on the canvas, as a random part of what is larger. With
    `image_size=None` there is no canvas either: all pictures once, whole and at their own size,
    in batches of one size each.

    Args:
        records: list of `Record`, as `read_index` gives them.
        modalities: tuple of str. The model's modalities.
        image_size: (height, width) of the canvas, or `None`: every picture's own.
        batch_size: int. Without `image_size` the most; fewer where fewer are of a size.
        steps: int or None. Batches per epoch, or one pass in order.
        weights: dict of data set name to float, 1 where it has no name; None for equal shares.
        augment: dict of modality to `Augmentation`, or None.
        seed: int. What is drawn depends on it, the batch's number and the attribute `epoch` alone.
            `fit` counts `epoch` up; set it to resume in the middle.
        resize_mode: `"pad"` or `"stretch"`; that of the preset's `ESPMedSAMImageConverter`. Or
            `"native"`, to train a model that takes pictures of any size.
        **kwargs: `workers` and the like, see `keras.utils.PyDataset`.

    Gives `({"images": (batch, height, width, 3) uint8, "modalities": (batch,) int32},
    masks (batch, height, width, 1) uint8 in {0, 1})`.

    Raises:
        InputError: for no records, a modality that the model does not know, a picture that does
            not fit its mask, weights of which none is above zero or one is below, an unknown
            `resize_mode`, or `steps` without an `image_size`.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> image, mask = (tempfile.mkdtemp() + "/picture.png" for _ in range(2))
        >>> Image.new("RGB", (40, 30), "red").save(image)
        >>> Image.new("L", (40, 30), 255).save(mask)
        >>> record = kem.data.Record("train", "fundus", "drive", image, mask)
        >>> dataset = SegmentationDataset([record], ("xray", "fundus"), (32, 32), batch_size=1)
        >>> x, masks = dataset[0]
        >>> x["images"].shape, x["modalities"].tolist(), masks.shape
        ((1, 32, 32, 3), [1], (1, 32, 32, 1))
        >>> SegmentationDataset([record], ("xray", "fundus"), None)[0][1].shape
        (1, 30, 40, 1)

    Source: ours.
    """

    def __init__(
        self,
        records,
        modalities,
        image_size,
        batch_size=16,
        steps=None,
        weights=None,
        augment=None,
        seed=0,
        resize_mode="pad",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not records:
            raise InputError("Received no records; choose splits or data sets that have some.")
        unknown = {r.modality for r in records} - set(modalities)
        if unknown:
            raise InputError(
                f"Received records of {', '.join(sorted(unknown))}; the model knows "
                f"{', '.join(modalities)}."
            )
        if resize_mode not in MODES:
            raise InputError(
                f"Received resize_mode={resize_mode!r}; expected one of {', '.join(MODES)}."
            )
        if steps and image_size is None:
            raise InputError(
                f"Received steps={steps} without image_size; pictures of several sizes make no "
                "batch, so give a canvas, or steps=None for all pictures at their own size."
            )
        self.records = list(records)
        self.batch_size = batch_size
        self.steps = steps
        self.augment = augment or {}
        self.seed = seed
        self.epoch = 0
        self.indices = np.array([tuple(modalities).index(r.modality) for r in records], "int32")
        self._canvas = None
        if image_size is None or resize_mode == "native":
            pairs = [_native(*_read_pair(record)) for record in self.records]
            self._canvas = image_size and tuple(image_size)
        else:
            pairs = [_placed(*_read_pair(r), image_size, resize_mode) for r in self.records]
        self.images, self.masks = (list(part) for part in zip(*pairs, strict=True))
        self._batches = None if steps else self._in_order(image_size is None)
        datasets = sorted({r.dataset for r in self.records})
        self._members = [
            np.array([i for i, r in enumerate(self.records) if r.dataset == name])
            for name in datasets
        ]
        shares = np.array([(weights or {}).get(name, 1.0) for name in datasets], "float64")
        if not (shares >= 0).all() or not shares.any():
            raise InputError(
                f"Received weights={weights} for the data sets {', '.join(datasets)}; expected "
                "numbers of at least 0, and one above 0."
            )
        self._shares = shares / shares.sum()

    def _in_order(self, by_size):
        """Rows of the batches of one pass: as they come, or those of one size together."""
        groups = {}
        for row, image in enumerate(self.images):
            groups.setdefault(image.shape if by_size else None, []).append(row)
        return [
            np.array(rows[start : start + self.batch_size])
            for rows in groups.values()
            for start in range(0, len(rows), self.batch_size)
        ]

    @property
    def num_batches(self):
        return self.steps or len(self._batches)

    def __getitem__(self, index):
        rng = np.random.default_rng([self.seed, self.epoch, index])
        if self.steps:
            drawn = rng.choice(len(self._members), self.batch_size, p=self._shares)
            rows = np.array([rng.choice(self._members[d]) for d in drawn])
        else:
            rows = self._batches[index]
        images, masks = [], []
        for row in rows:
            image, mask = self.images[row], self.masks[row]
            augmentation = self.augment.get(self.records[row].modality)
            if self._canvas is not None:
                image, mask = (augmentation or PLACED)(image, mask, rng, canvas=self._canvas)
            elif augmentation is not None:
                image, mask = augmentation(image, mask, rng)
            images.append(image)
            masks.append(mask)
        x = {"images": np.stack(images), "modalities": self.indices[rows]}
        return x, np.stack(masks)[..., None].astype("uint8")

    def on_epoch_end(self):
        # New draws for the next epoch, else `fit` would show the same pictures again and again.
        self.epoch += 1


def _read_pair(record):
    """The picture, float32 of 0 to 255 `(height, width, 3)`, and its mask, at their own size."""
    picture = read_picture(record.image)
    image = to_rgb(picture.layout.undo(picture.array))
    mask = read_mask(record.mask)
    if image.shape[:2] != mask.shape:
        raise InputError(
            f"{record.image} has {image.shape[1]} x {image.shape[0]} pixels and its mask "
            f"{record.mask} {mask.shape[1]} x {mask.shape[0]}; expected the same size."
        )
    return image * np.float32(255), mask


def _native(image, mask):
    return np.round(image).astype("uint8"), mask.astype(bool)


def _placed(image, mask, image_size, resize_mode):
    place = Placement.of(mask.shape, image_size, resize_mode)
    canvas = place.forward(image)
    filled = np.zeros(place.canvas, bool)
    filled[: place.inner[0], : place.inner[1]] = True
    canvas = np.where(filled[..., None], np.round(canvas), np.array(FILL, "float32"))
    return canvas.astype("uint8"), place.forward_mask(mask).astype(bool)
