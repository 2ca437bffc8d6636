"""Images of records as uint8 on their canvas, kept in memory or read when needed."""

import dataclasses
from collections import Counter

import numpy as np

from keras_espmedsam.data.checking import decode_records, is_blank
from keras_espmedsam.data.record import Record
from keras_espmedsam.data.samples import target_images
from keras_espmedsam.data.target_channels import TargetChannels
from keras_espmedsam.imaging.instance_maps import instance_map
from keras_espmedsam.imaging.pixels import to_rgb
from keras_espmedsam.imaging.placement import Placement
from keras_espmedsam.training.data.augmentation import FILL


class ImageStore:
    """All usable images of records; each is decoded once before the first is used.

    Args:
        records: list of `Record`.
        image_size: (height, width) of the canvas, or `None` for each image's own.
        resize_mode: `"pad"` or `"stretch"`, for a canvas.
        cache: bool. Keep the placed images; otherwise each is read when needed.
        scan: bool. Without a cache, decode every image once at the beginning; otherwise only its
            header is read.
        intensity: which values are black and white if a record does not say; see `read_images`.
        targets: `Targets` of the model, or None for one in each modality.
        overlap: see `SegmentationDataset`.
        options: options of `check_records`.

    `records` are those of the images, one each; `left_out` are the others, with the reason;
    `sizes` are the (height, width) of the placed images; `blank` says whether all masks have no
    foreground. Unknown entries are None. `notices` counts remarks about the decoded images.
    `labelled` says which channels each image labels, bool `(images, channels of the model)`.
    """

    def __init__(
        self,
        records,
        image_size,
        resize_mode,
        cache=True,
        scan=True,
        intensity=None,
        targets=None,
        overlap="error",
        **options,
    ):
        self.channels = TargetChannels(targets, records, overlap)
        self.image_size = image_size
        self.resize_mode = resize_mode
        self.intensity = intensity

        def use(record, image, labels):
            blank = is_blank(labels) if labels else None
            placed = self._placed(record, image, labels)
            size = placed[0].shape[:2]
            return self._packed(*placed) if cache else None, size, blank, image.notice

        found, self.left_out = decode_records(
            records,
            use if cache or scan else None,
            intensity=intensity,
            instances=self.channels.reads_instances,
            **options,
        )
        self.records = [record for record, _ in found]
        known = [used or (None, None, None, "") for _, used in found]
        self._kept = [kept for kept, *_ in known] if cache else None
        self.sizes = [size for _, size, _, _ in known]
        self.blank = [blank for _, _, blank, _ in known]
        self.notices = Counter(notice for *_, notice in known if notice)
        self.labelled = np.array([self.channels.labelled(record) for record in self.records])

    def __getitem__(self, rows):
        """Return images, uint8 `(height, width, 3)`, and masks of some rows.

        Masks are bool `(height, width)`, or `(height, width, channels of the image's modality)`
        for a model of several channels; or None.
        """
        if self._kept is not None:
            return [self._unpacked(row, *self._kept[row]) for row in rows]
        # Decode a file of many slices once for all requested slices.
        wanted: dict[Record, set[int]] = {}
        for row in rows:
            whole = dataclasses.replace(self.records[row], index=None)
            wanted.setdefault(whole, set()).add(self.records[row].index or 0)
        found = {}
        for whole, indices in wanted.items():
            only = min(indices) if len(indices) == 1 else None
            one = dataclasses.replace(whole, index=only)
            instances = self.channels.reads_instances
            for image, labels in target_images(one, intensity=self.intensity, instances=instances):
                if image.index in indices:
                    found[whole, image.index] = self._placed(whole, image, labels)
        return [
            found[dataclasses.replace(self.records[row], index=None), self.records[row].index or 0]
            for row in rows
        ]

    def free_of_conflicts(self, row, masks):
        """Return masks of a row, moved or not, in which exclusive and nested targets agree."""
        return self.channels.free_of_conflicts(
            self.records[row].modality, masks, self.labelled[row]
        )

    def _placed(self, record, image, labels):
        """Return the image and its masks on the canvas; see `__getitem__`."""
        place = (
            None
            if self.image_size is None
            else Placement.of(image.array.shape[:2], self.image_size, self.resize_mode)
        )
        canvas = _placed_image(image.array, place)
        if not labels:
            return canvas, None
        masks = self.channels.settled(record, labels)
        placed = {channel: _placed_mask(mask, place) for channel, mask in masks.items()}
        if self.channels.num_channels == 1:
            return canvas, placed[0]
        for channel, name, kind in self.channels.hidden(record):
            placed[channel] = _placed_map(labels[name].instances, kind, place)
        stacked = np.zeros((*canvas.shape[:2], self.channels.own_channels(record.modality)), bool)
        for channel, mask in placed.items():
            stacked[..., channel] = mask
        return canvas, stacked

    def _packed(self, canvas, masks):
        """Keep masks of several channels as one bit each."""
        if masks is None or masks.ndim == 2:
            return canvas, masks
        return canvas, np.packbits(masks, axis=-1)

    def _unpacked(self, row, canvas, masks):
        if masks is None or masks.ndim == 2:
            return canvas, masks
        count = self.channels.own_channels(self.records[row].modality)
        return canvas, np.unpackbits(masks, axis=-1, count=count).view(bool)


def _placed_image(array, place):
    image = to_rgb(array) * np.float32(255)
    if place is None:
        return np.round(image).astype("uint8")
    filled = np.zeros(place.canvas, bool)
    filled[: place.inner[0], : place.inner[1]] = True
    canvas = np.round(place.forward(image))
    canvas = np.where(filled[..., None], canvas, np.array(FILL, "float32"))
    return canvas.astype("uint8")


def _placed_mask(mask, place):
    return mask.astype(bool) if place is None else place.forward_mask(mask).astype(bool)


def _placed_map(labels, kind, place):
    """Derive a map from numbers, placed so that each pixel takes the nearest one's."""
    if place is None:
        return instance_map(labels, kind) != 0
    rows, columns = (
        (np.arange(inner) * 2 + 1) * size // (2 * inner)
        for inner, size in zip(place.inner, place.size, strict=True)
    )
    canvas = np.zeros(place.canvas, bool)
    # Not from the whole canvas: where the image ends, its objects go on.
    canvas[: place.inner[0], : place.inner[1]] = instance_map(labels[rows[:, None], columns], kind)
    return canvas
