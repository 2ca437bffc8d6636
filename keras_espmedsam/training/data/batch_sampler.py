"""The batch of a number: which images it holds and how they are changed."""

import numpy as np

from keras_espmedsam.training.data.augmentation import Augmentation

# Draws an image on a canvas and changes nothing.
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


class BatchSampler:
    """Draw batches by epoch and number: the same ones whenever, and in whatever order, asked.

    Args:
        images: `ImageStore`.
        batch_size: int.
        steps: int or None. Batches per epoch, or one pass.
        groups, probabilities: what is drawn from with `steps`, see `sampling_weights`.
        by_size: bool. Without `steps`, batches hold images of one size.
        shuffle: bool. Without `steps`, another order in each epoch.
        augment: dict of data set or modality to `Augmentation`; the data set's goes first.
        canvas: (height, width) that the augmentation draws on, or `None`: the image's size.
        seed: int.

    Call: `batch_sampler(epoch, index)` gives the rows, the images and the masks (or None) of a
    batch. It uses no backend, so that it runs in threads and processes.

    Source: ours.
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
            if self.canvas is not None:
                image, mask = (augmentation or PLACED)(image, mask, rng, canvas=self.canvas)
            elif augmentation is not None:
                image, mask = augmentation(image, mask, rng)
            images.append(image)
            masks.append(mask)
        if masks[0] is None:
            return rows, np.stack(images), None
        return rows, np.stack(images), np.stack(masks)[..., None].astype("uint8")

    def _one_pass(self, epoch):
        """Rows of the batches of one pass: as they come, or those of one size together."""
        order = np.arange(len(self.images.records))
        # The last number tells this generator from those of the batches.
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
            # Else all images of one size would come before those of another.
            batches = [batches[i] for i in rng.permutation(len(batches))]
        return batches
