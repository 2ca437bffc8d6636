"""Choose another training image of the same modality."""

import numpy as np

from keras_espmedsam.training.data.augmentation import content_size


class PartnerImages:
    """Draw another image of a row's modality, of another data set if the modality has several.

    Each of the other data sets is drawn equally often, whatever the number of its images.

    Args:
        images: `ImageStore`.

    Call: `partners(row, rng)` returns an image, uint8 `(height, width, 3)`, without what fills up
    its canvas, or None if the modality has no other one.
    """

    def __init__(self, images):
        self.images = images
        rows: dict[str, dict[str, list[int]]] = {}
        for row, record in enumerate(images.records):
            rows.setdefault(record.modality, {}).setdefault(record.dataset, []).append(row)
        self._rows = {
            modality: {name: np.array(ones) for name, ones in sets.items()}
            for modality, sets in rows.items()
        }

    def __call__(self, row, rng):
        record = self.images.records[row]
        sets = self._rows[record.modality]
        others = [rows for name, rows in sets.items() if name != record.dataset]
        if others:
            chosen = others[rng.integers(len(others))]
        else:
            own = sets[record.dataset]
            chosen = own[own != row]
        if not len(chosen):
            return None
        ((image, _),) = self.images[[int(rng.choice(chosen))]]
        height, width = content_size(image)
        return np.ascontiguousarray(image[:height, :width])
