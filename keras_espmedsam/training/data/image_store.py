"""The images of records as uint8, on their canvas, in memory or read when they are needed."""

import dataclasses
from collections import Counter

import numpy as np

from keras_espmedsam.data.checking import decode_records
from keras_espmedsam.data.record import Record
from keras_espmedsam.data.samples import labelled_images
from keras_espmedsam.imaging.pixels import to_rgb
from keras_espmedsam.imaging.placement import Placement
from keras_espmedsam.training.data.augmentation import FILL


class ImageStore:
    """All images of records that can be used, every one decoded before the first is.

    Args:
        records: list of `Record`.
        image_size: (height, width) of the canvas, or `None`: every image's own.
        resize_mode: `"pad"` or `"stretch"`, for a canvas.
        cache: bool. Keep the placed images; otherwise each is read when it is needed.
        scan: bool. Without a cache, decode every image once at the beginning; otherwise its
            header is read alone.
        intensity: what is black and white where a record does not say it; see `read_images`.
        options: options of `check_records`.

    `records` are those of the images, one each, `left_out` the others with the reason, `sizes`
    the (height, width) of the placed images, and `blank` whether the mask holds no foreground;
    each None where it is not known. `notices` counts what is to be said of those decoded.

    Source: ours.
    """

    def __init__(
        self,
        records,
        image_size,
        resize_mode,
        cache=True,
        scan=True,
        intensity=None,
        **options,
    ):
        self.image_size = image_size
        self.resize_mode = resize_mode
        self.intensity = intensity

        def use(image, mask):
            blank = None if mask is None else not mask.any()
            placed = self._placed(image, mask)
            return placed if cache else None, placed[0].shape[:2], blank, image.notice

        found, self.left_out = decode_records(
            records, use if cache or scan else None, intensity=intensity, **options
        )
        self.records = [record for record, _ in found]
        known = [used or (None, None, None, "") for _, used in found]
        self._kept = [kept for kept, *_ in known] if cache else None
        self.sizes = [size for _, size, _, _ in known]
        self.blank = [blank for _, _, blank, _ in known]
        self.notices = Counter(notice for *_, notice in known if notice)

    def __getitem__(self, rows):
        """The images, uint8 `(height, width, 3)`, and masks, bool or None, of some rows."""
        if self._kept is not None:
            return [self._kept[row] for row in rows]
        # A file of many slices is decoded once for all that are wanted of it.
        wanted: dict[Record, set[int]] = {}
        for row in rows:
            whole = dataclasses.replace(self.records[row], index=None)
            wanted.setdefault(whole, set()).add(self.records[row].index or 0)
        found = {}
        for whole, indices in wanted.items():
            only = min(indices) if len(indices) == 1 else None
            one = dataclasses.replace(whole, index=only)
            for image, mask in labelled_images(one, intensity=self.intensity):
                if image.index in indices:
                    found[whole, image.index] = self._placed(image, mask)
        return [
            found[dataclasses.replace(self.records[row], index=None), self.records[row].index or 0]
            for row in rows
        ]

    def _placed(self, image, mask):
        image = to_rgb(image.array) * np.float32(255)
        if self.image_size is None:
            return np.round(image).astype("uint8"), None if mask is None else mask.astype(bool)
        place = Placement.of(image.shape[:2], self.image_size, self.resize_mode)
        filled = np.zeros(place.canvas, bool)
        filled[: place.inner[0], : place.inner[1]] = True
        canvas = np.round(place.forward(image))
        canvas = np.where(filled[..., None], canvas, np.array(FILL, "float32"))
        if mask is not None:
            mask = place.forward_mask(mask).astype(bool)
        return canvas.astype("uint8"), mask
