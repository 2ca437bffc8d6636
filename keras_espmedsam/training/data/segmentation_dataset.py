"""Batches of raw images, modalities and masks from files."""

import keras
import numpy as np

from keras_espmedsam.data.target_channels import TargetChannels
from keras_espmedsam.data.targets import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.intensity import parse_intensity
from keras_espmedsam.imaging.placement import RESIZE_MODES
from keras_espmedsam.training.data.batch_layers import BatchLayers
from keras_espmedsam.training.data.batch_sampler import BatchSampler
from keras_espmedsam.training.data.image_store import ImageStore
from keras_espmedsam.training.data.prefetch import Prefetch
from keras_espmedsam.training.data.sampling_weights import (
    check_weights,
    group_names,
    levels_of,
    sampling_weights,
)

MODES = (*RESIZE_MODES, "native")


class SegmentationDataset(keras.utils.PyDataset):
    """Images of records as batches for `ESPMedSAMImageSegmenter.fit`.

    Every image is decoded before the first batch, so that bad files are found early, then placed
    on a canvas of `image_size` and kept as uint8. Each image of a file with several (slices of a
    volume, frames, pages) counts separately. With `steps`, an epoch is that many batches of images
    drawn at random, data set by data set or modality by modality in the proportions of `weights`;
    without, it is every image once.

    With `resize_mode="native"` no image is resized: each keeps its own size, and its augmentation
    draws it on the canvas, cropping at random what is larger. With `image_size=None` there is no
    canvas either: all images once, whole and at their own size, in batches of one size each.

    Batches depend only on `seed`, the attribute `epoch` and the batch's number: not on the backend
    (except for `layers`), the number of workers or earlier batches. `fit` increments `epoch`: once
    before its first epoch, since Keras calls `on_epoch_end` then, and once after each. Set it to
    resume in the middle of a run.

    Args:
        records: list of `Record`, from `read_index`, `read_folder` or `read_splits`; all with
            masks, or none.
        modalities: tuple of str. The model's modalities. Records without one (of natural images)
            are accepted if none has one.
        image_size: (height, width) of the canvas, or `None` for each image's own.
        batch_size: int. Without `image_size` an upper limit, since each batch has one size.
        steps: int or None. Batches per epoch, or one pass.
        weights: dict of name to float, 1 for other names; None for equal shares. Names are those
            of data sets, or of what `balance` says (`fundus/vessels` for a target). They need
            `steps`.
        augment: dict of modality to `Augmentation`, such as `MEDICAL_RANGES`, or None. A data
            set's name may be a key too, and then replaces its modality's.
        seed: int.
        resize_mode: `"pad"` or `"stretch"`, as in the preset's `ESPMedSAMImageConverter`. Or
            `"native"`, to train a model that takes images of any size.
        balance: `"dataset"`, `"modality"`, `"target"` (of a modality; an image in which several
            are labelled is drawn for each) or None: what is drawn in proportion, with `steps`. A
            list, such as `["modality", "dataset"]`, divides each share again.
        shuffle: bool. Without `steps`, use another order in each epoch.
        layers: list of Keras' image layers, applied to each batch after `augment`, to masks and
            images together; see `BatchLayers`. They run on the backend, in the thread that
            requests the batch.
        cache: bool. Keep the placed images in memory; otherwise each is read when it is drawn,
            for data larger than memory. Keep slices of a volume in memory, or write them to
            separate files: drawing one decodes the whole volume.
        scan: bool. Without a cache, decode every image once at the beginning; otherwise only
            headers are read then, and a file that is damaged after its header stops the run.
        strict: bool. Raise for a bad file; otherwise leave it out and add it, with the reason, to
            the attribute `left_out`, a list of (record, sentence).
        keep_empty: bool. Keep the images whose mask is empty. The attribute `blank` says for each
            record whether its mask is, None if it was not decoded or there is none.
        workers: int. Threads that prepare batches ahead; with 1, each is prepared on request.
        use_multiprocessing: bool. Processes instead of threads; each gets a copy of the images in
            memory. Threads usually suffice, since decoding and moving images release Python's
            lock.
        max_queue_size: int. Largest number of batches prepared ahead.
        intensity: which values are black and white if a record does not say; see `read_images`.
            The attribute `notices` counts remarks about the decoded images, such as that black and
            white were taken from their values. The data set yields brightness: a model trained on
            it needs an image converter with the intensity "auto".
        targets: `Targets` of the model, as `segmenter.target_set`; None for one in each modality.
            What a record does not label is unknown, not background. Hidden channels are derived
            from images of instances, and unknown without them.
        overlap: what becomes of pixels of several targets of an exclusive group. With `"error"`
            the image cannot be used if they are more than 1 percent of the smaller target; what
            is less goes to the group's first. With `"first"` all go to the first, as where
            arteries cross over veins; with `"neither"` they are background. Inner targets may be
            outside of their outer ones by 1 percent, too.

    Yields `({"images": (batch, height, width, 3) uint8, "modalities": (batch,) int32},
    masks (batch, height, width, 1) uint8 in {0, 1})`; without masks `({"images",
    "modalities"},)`, and without modalities no such key. For `targets` of several channels, in
    place of the masks `{"masks": (batch, height, width, channels) uint8 in {0, 1}, "labelled":
    (batch, channels) bool}`; masks that are not labelled are 0.

    Raises:
        InputError: for no records, an unknown modality, bad files, records of which only some have
            masks, weights of unknown names, without a positive one or without `steps`, an unknown
            `resize_mode`, `balance` or `overlap`, an unsuitable layer, `steps` without an
            `image_size`, records of targets that the model does not have, or targets of other
            modalities than `modalities`.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> image, mask = (tempfile.mkdtemp() + "/image.png" for _ in range(2))
        >>> Image.new("RGB", (40, 30), "red").save(image)
        >>> Image.new("L", (40, 30), 255).save(mask)
        >>> record = kem.data.Record("train", "fundus", "drive", image, mask)
        >>> dataset = SegmentationDataset([record], ("xray", "fundus"), (32, 32), batch_size=1)
        >>> x, masks = dataset[0]
        >>> x["images"].shape, x["modalities"].tolist(), masks.shape
        ((1, 32, 32, 3), [1], (1, 32, 32, 1))
        >>> SegmentationDataset([record], ("xray", "fundus"), None)[0][1].shape
        (1, 30, 40, 1)
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
        balance="dataset",
        shuffle=False,
        layers=(),
        cache=True,
        scan=True,
        strict=True,
        keep_empty=True,
        workers=1,
        use_multiprocessing=False,
        max_queue_size=10,
        intensity=None,
        targets=None,
        overlap="error",
    ):
        # Keras must start no workers: see `Prefetch`.
        super().__init__(workers=1, max_queue_size=max_queue_size)
        records = list(records)
        _check_records(records, modalities)
        _check_targets(targets, modalities)
        TargetChannels(targets, records, overlap)  # Report before reading all images.
        _check_sizes(image_size, resize_mode, steps, cache or scan)
        check_weights(weights, steps)
        # Report misspelt names before reading all images.
        sampling_weights(records, balance, weights, targets)
        canvas = image_size and tuple(image_size)
        native = resize_mode == "native"
        images = ImageStore(
            records,
            None if native else canvas,
            resize_mode,
            cache,
            scan,
            strict=strict,
            keep_empty=keep_empty,
            workers=workers if workers > 1 else None,
            intensity=parse_intensity(intensity),
            targets=targets,
            overlap=overlap,
        )
        self.notices = images.notices
        self.records = images.records
        self.left_out = images.left_out
        self.blank = images.blank
        self.labelled = images.labelled
        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self.epoch = 0
        self.indices = None
        if self.records[0].modality:
            of = {name: i for i, name in enumerate(modalities)}
            self.indices = np.array([of[record.modality] for record in self.records], "int32")
        groups, probabilities = sampling_weights(
            self.records, balance, _present(weights, self.records, balance, targets), targets
        )
        self._images = images
        self._batch_sampler = BatchSampler(
            images,
            batch_size,
            steps,
            groups,
            probabilities,
            by_size=image_size is None,
            shuffle=shuffle,
            augment=augment or {},
            canvas=canvas if native else None,
            seed=seed,
        )
        self._layers = BatchLayers(layers)
        self._prefetch = Prefetch(self._batch_sampler, workers, max_queue_size, use_multiprocessing)

    @property
    def num_batches(self):
        return self._batch_sampler.num_batches

    def __getitem__(self, index):
        epoch = self.epoch
        rows, images, masks = self._prefetch(epoch, index, self.num_batches)
        # One number more than the batch sampler's generator, so that the two differ.
        images, masks = self._layers(images, masks, [self.seed, epoch, index, 2])
        y = masks if masks is None or masks.shape[-1] == 1 else self._several(rows, masks)
        x = {"images": images}
        if self.indices is not None:
            x["modalities"] = self.indices[rows]
        return (x,) if y is None else (x, y)

    def _several(self, rows, masks):
        if self._layers.layers:  # They may have given a pixel to two targets, as resizing does.
            for row, part in zip(rows, masks, strict=True):
                part[...] = self._images.free_of_conflicts(row, part)
        return {"masks": masks, "labelled": self._images.labelled[rows]}

    def on_epoch_end(self):
        # Draw others in the next epoch; otherwise `fit` would show the same images again and again.
        self.epoch += 1


def _check_records(records, modalities):
    if not records:
        raise InputError("Received no records; choose splits or data sets that have some.")
    names = {record.modality for record in records}
    unknown = names - set(modalities)
    if unknown and names != {""}:
        raise InputError(
            f"Received records of {', '.join(sorted(name or 'no modality' for name in unknown))}; "
            f"the model knows {', '.join(modalities)}."
        )
    bare = [record for record in records if record.mask is None]
    if bare and len(bare) < len(records):
        raise InputError(
            f"Received {len(bare)} records without a mask, such as {bare[0].image}, among "
            f"{len(records)}; expected masks for all of them, or for none."
        )


def _check_targets(targets, modalities):
    if isinstance(targets, Targets) and targets.modalities != tuple(modalities):
        raise InputError(
            f"Received targets of {', '.join(targets.modalities)} for the modalities "
            f"{', '.join(modalities) or 'of no name'}; expected those of one model, as "
            "segmenter.target_set and segmenter.modalities."
        )


def _check_sizes(image_size, resize_mode, steps, sizes_known):
    if resize_mode not in MODES:
        raise InputError(
            f"Received resize_mode={resize_mode!r}; expected one of {', '.join(MODES)}."
        )
    if steps and image_size is None:
        raise InputError(
            f"Received steps={steps} without image_size; images of several sizes make no "
            "batch, so give a canvas, or steps=None for all images at their own size."
        )
    if image_size is None and not sizes_known:
        raise InputError(
            "Received scan=False without image_size; images of one size make a batch, and their "
            "sizes are not known then, so give a canvas, or scan=True."
        )


def _present(weights, records, balance, targets):
    """Return the weights of the groups that remain when bad files are left out."""
    names = {
        name
        for record in records
        for level in levels_of(balance)
        for name in group_names(record, level, targets)
    }
    return {name: weight for name, weight in (weights or {}).items() if name in names}
