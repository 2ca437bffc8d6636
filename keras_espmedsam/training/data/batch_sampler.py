"""Choose the images of a batch by its number, and augment them."""

import functools

import numpy as np

from keras_espmedsam.training.data.augmentation import PLACED
from keras_espmedsam.training.data.partner_images import PartnerImages


class BatchSampler:
    """Draw batches, deterministic in (seed, epoch, index).

    Args:
        images: `ImageStore`.
        batch_size: int.
        steps: int or None. Batches per epoch, or one pass.
        groups, probabilities: what to draw from with `steps`, see `sampling_weights`.
        by_size: bool. Without `steps`, each batch holds images of one size.
        shuffle: bool. Without `steps`, use another order in each epoch.
        augment: dict of data set or modality to `Augmentation`; the data set's takes precedence.
        canvas: (height, width) that the augmentation draws on, or `None` for the image's size.
        seed: int.

    Call: `batch_sampler(epoch, index)` returns the rows, the images and the masks (or None),
    `(batch, height, width, channels of the model)`, of a batch. It uses no backend, so it can run
    in threads and processes.
    """

    def __init__(
        self,
        images,
        batch_size,
        steps,
        groups,
        probabilities,
        by_size,
        shuffle,
        augment,
        canvas,
        seed,
    ):
        self.images = images
        self.batch_size = batch_size
        self.steps = steps
        self.groups = groups
        self.probabilities = probabilities
        self.by_size = by_size
        self.shuffle = shuffle
        self.augment = augment
        self.canvas = canvas
        self.seed = seed
        self.num_batches = steps or len(self._one_pass(0))
        self._partners = PartnerImages(images)

    def __call__(self, epoch, index):
        rng = np.random.default_rng([self.seed, epoch, index])
        if self.steps:
            drawn = rng.choice(len(self.groups), self.batch_size, p=self.probabilities)
            rows = np.array([rng.choice(self.groups[d]) for d in drawn])
        else:
            rows = self._one_pass(epoch)[index]
        images, masks = [], []
        for row, (image, mask) in zip(rows, self.images[rows], strict=True):
            record = self.images.records[row]
            augmentation = self.augment.get(record.dataset, self.augment.get(record.modality))
            partner = functools.partial(self._partners, row)
            if self.canvas is not None:
                augmentation = augmentation or PLACED
                image, mask = augmentation(image, mask, rng, canvas=self.canvas, partner=partner)
            elif augmentation is not None:
                image, mask = augmentation(image, mask, rng, partner=partner)
            images.append(image)
            masks.append(mask)
        if masks[0] is None:
            return rows, np.stack(images), None
        return rows, np.stack(images), self._stacked(rows, masks)

    def _stacked(self, rows, masks):
        """Return the masks of a batch; beyond an image's own channels they are 0."""
        count = self.images.channels.num_channels
        if count == 1:
            return np.stack(masks)[..., None].astype("uint8")
        stacked = np.zeros((len(masks), *masks[0].shape[:2], count), "uint8")
        for row, mask, part in zip(rows, masks, stacked, strict=True):
            part[..., : mask.shape[-1]] = self.images.free_of_conflicts(row, mask)
        return stacked

    def _one_pass(self, epoch):
        """Return the rows of each batch of one pass: in order, or grouped by image size."""
        order = np.arange(len(self.images.records))
        # The last number distinguishes this generator from those of the batches.
        rng = np.random.default_rng([self.seed, epoch, 0, 1])
        if self.shuffle:
            order = rng.permutation(order)
        groups: dict[tuple[int, int] | None, list[int]] = {}
        for row in order.tolist():
            groups.setdefault(self.images.sizes[row] if self.by_size else None, []).append(row)
        batches = [
            np.array(rows[start : start + self.batch_size])
            for rows in groups.values()
            for start in range(0, len(rows), self.batch_size)
        ]
        if self.shuffle and self.by_size:
            # Otherwise all images of one size would come before those of another.
            batches = [batches[i] for i in rng.permutation(len(batches))]
        return batches
