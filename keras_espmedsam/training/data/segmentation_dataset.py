"""Batches of raw images, modalities and masks from files."""

import keras
import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.intensity import parse_intensity
from keras_espmedsam.imaging.placement import RESIZE_MODES
from keras_espmedsam.training.data.batch_layers import BatchLayers
from keras_espmedsam.training.data.batch_sampler import BatchSampler
from keras_espmedsam.training.data.image_store import ImageStore
from keras_espmedsam.training.data.prefetch import Prefetch
from keras_espmedsam.training.data.sampling_weights import check_weights, sampling_weights

MODES = (*RESIZE_MODES, "native")


class SegmentationDataset(keras.utils.PyDataset):
    """Images of records as batches for `ESPMedSAMImageSegmenter.fit`.

    Every image is decoded before the first batch, so that bad files are known then, placed on a
    canvas of `image_size` and kept as uint8. A file of several images (the slices of a volume,
    frames, pages) is several images here. With `steps`, an epoch is that many batches of
    images drawn at random, data set by data set or modality by modality in the proportions of
    `weights`; without, it is every image once.

    No image is resized with `resize_mode="native"`: it is kept at its own size, and its
    augmentation draws it on the canvas, as a random part of what is larger. With
    `image_size=None` there is no canvas either: all images once, whole and at their own size,
    in batches of one size each.

    What is drawn depends on `seed`, the attribute `epoch` and the batch's number alone: not on
    the backend (but for `layers`), the number of workers or what was drawn before. `fit` counts
    `epoch` up: by one before its first epoch, as Keras calls `on_epoch_end` then, and by one after
    each. Set it to go on in the middle of a run.

    Args:
        records: list of `Record`, from `read_index`, `read_folder` or `read_splits`; all of them
            with masks, or none.
        modalities: tuple of str. The model's modalities. Records without one (of natural images)
            are taken when none has one.
        image_size: (height, width) of the canvas, or `None`: every image's own.
        batch_size: int. Without `image_size` the most; fewer where fewer are of a size.
        steps: int or None. Batches per epoch, or one pass.
        weights: dict of name to float, 1 where it has no name; None for equal shares. Names of
            data sets, or what `balance` says. They need `steps`.
        augment: dict of modality to `Augmentation`, such as `MEDICAL_RANGES`, or None. A data
            set may have one of its own, by its name, in place of its modality's.
        seed: int.
        resize_mode: `"pad"` or `"stretch"`; that of the preset's `ESPMedSAMImageConverter`. Or
            `"native"`, to train a model that takes images of any size.
        balance: `"dataset"`, `"modality"` or None: what is drawn in shares, with `steps`.
        shuffle: bool. Without `steps`, another order in each epoch.
        layers: list of Keras' image layers, applied to each batch behind `augment`, masks and
            images together; see `BatchLayers`. They run on the backend, in the thread that asks
            for the batch.
        cache: bool. Keep the placed images in memory; otherwise each is read when it is drawn,
            for data larger than memory. The slices of a volume are better kept, or written to
            files of their own: drawing one decodes the whole volume.
        scan: bool. Without a cache, decode every image once at the beginning; otherwise only
            headers are read then, and a file that is damaged behind its header stops the run.
        strict: bool. A bad file is an error; otherwise it is left out, with its reason in the
            attribute `left_out`, a list of (record, sentence).
        keep_empty: bool. Keep the images whose mask is empty. The attribute `blank` says of
            each record whether its mask is, None where it was not decoded or there is none.
        workers: int. Threads that draw batches ahead; 1 draws each when it is asked for.
        use_multiprocessing: bool. Processes instead of threads; each gets a copy of what is kept
            in memory. Threads suffice as a rule, as decoding and moving images do not hold
            Python's lock.
        max_queue_size: int. The most batches that are ready before they are asked for.
        intensity: what is black and white where a record does not say it; see `read_images`. The
            attribute `notices` counts what is to be said of the images that were decoded, such as
            that black and white were taken from their values. What a data set gives is brightness:
            the image converter of a model that is trained on it is to have the intensity "auto".

    Gives `({"images": (batch, height, width, 3) uint8, "modalities": (batch,) int32},
    masks (batch, height, width, 1) uint8 in {0, 1})`; without masks `({"images",
    "modalities"},)`, and without modalities no such key.

    Raises:
        InputError: for no records, a modality that the model does not know, bad files, records of
            which only some have masks, weights of unknown names, without a positive one or without
            `steps`, an unknown `resize_mode` or `balance`, a layer that does not serve, or `steps`
            without an `image_size`.

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
    ):
        # Keras is to start no workers: see `Prefetch`.
        super().__init__(workers=1, max_queue_size=max_queue_size)
        records = list(records)
        _check_records(records, modalities)
        _check_sizes(image_size, resize_mode, steps, cache or scan)
        check_weights(weights, steps)
        # Misspelt names are told before all images are read.
        sampling_weights(records, balance, weights)
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
        )
        self.notices = images.notices
        self.records = images.records
        self.left_out = images.left_out
        self.blank = images.blank
        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self.epoch = 0
        self.indices = None
        if self.records[0].modality:
            of = {name: i for i, name in enumerate(modalities)}
            self.indices = np.array([of[record.modality] for record in self.records], "int32")
        groups, probabilities = sampling_weights(
            self.records, balance, _present(weights, self.records, balance)
        )
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
        # One number more than the batch sampler's generator has, so that the two are not alike.
        images, masks = self._layers(images, masks, [self.seed, epoch, index, 2])
        x = {"images": images}
        if self.indices is not None:
            x["modalities"] = self.indices[rows]
        return (x,) if masks is None else (x, masks)

    def on_epoch_end(self):
        # New draws for the next epoch, else `fit` would show the same images again and again.
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


def _present(weights, records, balance):
    """The weights of what is left when bad files are left out."""
    names = {getattr(record, balance) for record in records} if balance else ()
    return {name: weight for name, weight in (weights or {}).items() if name in names}
