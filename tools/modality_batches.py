"""Batches that `train_modality.py` learns from: augmented images of data sets, and outliers."""

import dataclasses
import io

import keras
import numpy as np
import outliers
from PIL import Image

from keras_espmedsam.data import read_image, read_index
from keras_espmedsam.imaging.pixels import to_rgb
from keras_espmedsam.imaging.placement import resize
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import MODALITIES
from keras_espmedsam.training import Augmentation
from keras_espmedsam.training.data.appearance.make_appearance import make_appearance

STORED = 160  # Side of the images that are kept in memory and cropped from.
OUTLIERS_PER_BATCH = 0.3

# `disturb`, below, changes values, noise and compression.
APPEARANCE = make_appearance({"fourier_mixing": 0.3, "illumination": 0.2})
COMMON = dict(
    scale=(0.75, 1.7), shift=0.15, stretch=0.3, brightness=0.35, contrast=0.35,
    appearance=APPEARANCE,
)  # fmt: skip
COLOUR = dict(vertical_flip=0.5, saturation=0.4)
AUGMENT = {
    "dermoscopy": Augmentation(right_angles=True, **COLOUR, **COMMON),
    "xray": Augmentation(rotation=12, **{**COMMON, "scale": (0.7, 2.5), "stretch": 0.6}),
    "ultrasound": Augmentation(rotation=12, **{**COMMON, "scale": (0.7, 2.2)}),
    "fundus": Augmentation(rotation=45, **COLOUR, **COMMON),
    "microscopy": Augmentation(
        right_angles=True, **{**COLOUR, "saturation": 0.6}, **{**COMMON, "scale": (0.8, 3)}
    ),
    "colonoscopy": Augmentation(right_angles=True, **COLOUR, **COMMON),
}
OTHER = Augmentation(vertical_flip=0.3, rotation=20, saturation=0.5, **{**COMMON, "appearance": ()})
GREY = {"microscopy": 0.3}  # How many of the images lose their colours; of the others:
GREY_OTHERS = 0.03
GREY_OUTLIERS = 0.35


# === Images of the index ===


@dataclasses.dataclass(frozen=True)
class Images:
    """Images of an index, each once, however many targets it has.

    Args:
        pixels: uint8 `(images, STORED, STORED, 3)`.
        labels: int `(images,)`. The numbers of their modalities.
        datasets: str `(images,)`.
    """

    pixels: np.ndarray
    labels: np.ndarray
    datasets: np.ndarray

    def __len__(self):
        return len(self.pixels)


def read_rgb(path):
    """An image as uint8 RGB."""
    return np.round(to_rgb(read_image(path).array) * 255).astype("uint8")


def stretched(image, size):
    values = resize(image.astype("float32"), size, size)
    return np.clip(np.round(values), 0, 255).astype("uint8")


def read_images(index, split, without=()):
    """The images of a split but those of some data sets."""
    records = [one for one in read_index(index, [split]) if one.dataset not in without]
    return Images(
        np.stack([stretched(read_rgb(record.image), STORED) for record in records]),
        np.array([MODALITIES.index(record.modality) for record in records]),
        np.array([record.dataset for record in records]),
    )


def shares_of_images(datasets):
    """How often each image is drawn: a data set as often as the root of its images' number.

    In proportion to the number, small ones would be seen too little; all alike, too often.
    """
    _, inverse, counts = np.unique(datasets, return_inverse=True, return_counts=True)
    shares = 1 / np.sqrt(counts[inverse])
    return shares / shares.sum()


# === What other devices do to an image ===


def curved_probe(image, rng):
    """An ultrasound image as of a curved probe: a sector, black around it."""
    size = image.shape[0]
    half_angle = rng.uniform(0.35, 0.8)
    nearest = rng.uniform(0.05, 0.5)
    rows, columns = np.mgrid[:size, :size] / size
    # The sector's corners touch the sides; the probe is at the top.
    reach = 0.5 / np.sin(half_angle)
    down = rows + nearest * reach * np.cos(half_angle)
    radius, angle = np.hypot(down, columns - 0.5), np.arctan2(columns - 0.5, down)
    depth = (radius / reach - nearest) / max(1 - nearest, 0.3)
    across = (angle / half_angle + 1) / 2
    inside = (depth >= 0) & (depth < 1) & (across >= 0) & (across < 1)
    taken = image[
        np.clip(depth * size, 0, size - 1).astype(int),
        np.clip(across * size, 0, size - 1).astype(int),
    ]
    return taken * inside[..., None].astype("uint8")


def other_stain(image, rng):
    """A stained section in a slightly other hue; grey images stay grey."""
    hsv = np.array(Image.fromarray(image).convert("HSV"))
    hsv[..., 0] += np.uint8(rng.integers(-18, 19) % 256)
    return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))


def other_device(image, modality, rng):
    """What devices of a modality do that are not among the data sets."""
    if modality == "ultrasound" and rng.random() < 0.3:
        return curved_probe(image, rng)
    if modality == "microscopy" and rng.random() < 0.5:
        return other_stain(image, rng)
    if modality == "xray" and rng.random() < 0.1:
        return 255 - image  # Bones black.
    return image


def disturb(image, rng, grey=0.0):
    """What other cameras, programs and screens do to an image: borders, values, compression."""
    size = image.shape[0]
    if rng.random() < 0.15:
        # A frame or bars, black, white or of a random grey.
        level = (0, 255, int(rng.integers(256)))[rng.integers(3)]
        margins = (rng.uniform(0, 0.22, 4) * (rng.random(4) < 0.6) * size).astype(int)
        top, left, bottom, right = margins
        inner = stretched(image, size)[top : size - bottom, left : size - right]
        if rng.random() < 0.5:
            inner = np.asarray(Image.fromarray(image).resize(inner.shape[1::-1]))
        image = np.full_like(image, level)
        image[top : size - bottom, left : size - right] = inner
    values = image.astype("float32") / 255
    if rng.random() < 0.5:
        values = values ** np.exp(rng.uniform(-0.5, 0.5))
    if rng.random() < 0.4:
        values = values * rng.uniform(0.85, 1.12, 3)
    if rng.random() < grey:
        values = np.repeat(values.mean(axis=-1, keepdims=True), 3, axis=-1)
    if rng.random() < 0.15:
        values = values + rng.normal(size=values.shape[:2] + (1,)) * rng.uniform(0, 0.06)
    image = Image.fromarray((np.clip(values, 0, 1) * 255).astype("uint8"))
    if rng.random() < 0.25:
        side = int(size * rng.uniform(0.3, 0.9))
        image = image.resize((side, side), Image.Resampling.BILINEAR)
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    if rng.random() < 0.25:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(20, 90)))
        image = Image.open(file)
    return np.asarray(image)


class ModalityBatches(keras.utils.PyDataset):
    """Batches of augmented training images and outliers, drawn by seed, `epoch` and number.

    Args:
        images: `Images` to train on.
        photographs: list of uint8 arrays of any size.
        made: list of uint8 `(STORED, STORED, 3)`. Synthetic outliers.
        phase: dict of `size`, `steps`, `batch_size`, `shares` of the modalities, and of the
            outliers that are `broken` images or `photographs`.
        seed: int.
    """

    def __init__(self, images, photographs, made, phase, seed):
        super().__init__(workers=1)
        self.images = images
        self.photographs, self.made = photographs, made
        self.size, self.steps = phase["size"], phase["steps"]
        self.batch_size, self.seed, self.epoch = phase["batch_size"], seed, 0
        self.members = [np.flatnonzero(images.labels == k) for k in range(len(MODALITIES))]
        self.within = [shares_of_images(images.datasets[members]) for members in self.members]
        self.shares, self.broken = phase["shares"], phase["broken"]
        self.photographed = phase["photographs"]

    @property
    def num_batches(self):
        return self.steps

    def __getitem__(self, index):
        rng = np.random.default_rng([self.seed, self.epoch, index])
        others = round(self.batch_size * OUTLIERS_PER_BATCH)
        images, targets = [], []
        for k in range(self.batch_size):
            if k < others:
                images.append(self.outlier(rng))
                targets.append(np.full(len(MODALITIES), 1 / len(MODALITIES)))
            else:
                image, label = self.image(rng)
                images.append(self.medical(image, label, rng))
                targets.append(np.eye(len(MODALITIES))[label])
        return np.stack(images), np.stack(targets).astype("float32")

    def image(self, rng):
        label = rng.choice(len(MODALITIES), p=self.shares)
        return self.of_modality(label, rng), label

    def of_modality(self, label, rng):
        return self.images.pixels[rng.choice(self.members[label], p=self.within[label])]

    def medical(self, image, label, rng):
        name = MODALITIES[label]
        image = other_device(image, name, rng)
        grey = GREY.get(name, GREY_OTHERS)
        return self.ready(image, AUGMENT[name], rng, grey, lambda rng: self.of_modality(label, rng))

    def outlier(self, rng):
        kind, image = rng.random(), None
        if kind < self.broken:
            image, label = self.image(rng)
            image = outliers.broken(image, MODALITIES[label], rng)
        if image is None and kind < self.broken + self.photographed:
            photograph = self.photographs[rng.integers(len(self.photographs))]
            image = outliers.crop(photograph, STORED, rng, least=0.2)
        if image is None:
            image = self.made[rng.integers(len(self.made))]
        return self.ready(image, OTHER, rng, GREY_OUTLIERS)

    def ready(self, image, augmentation, rng, grey, partner=None):
        image, _ = augmentation(image, None, rng, partner=partner)
        image = Image.fromarray(image).resize((self.size, self.size), Image.Resampling.BILINEAR)
        return disturb(np.asarray(image), rng, grey)
