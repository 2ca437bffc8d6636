"""Batches for `DecoupledDistiller` from files, with cached features of the teachers."""

import dataclasses

import keras
import numpy as np

from keras_espmedsam.data.targets import UNLABELLED
from keras_espmedsam.distillation.part_drawing import PartDrawing
from keras_espmedsam.distillation.teacher_cache import TeacherCache, check_converter
from keras_espmedsam.distillation.teacher_size import check_teacher_size
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.intensity import AUTO
from keras_espmedsam.imaging.placement import Placement
from keras_espmedsam.models.esp_medsam.esp_medsam_image_segmenter_preprocessor import (
    any_target,
    max_pool_patches,
)
from keras_espmedsam.models.image_converter import check_image_size
from keras_espmedsam.training.data.image_store import ImageStore
from keras_espmedsam.training.data.prefetch import Prefetch
from keras_espmedsam.training.data.sampling_weights import check_weights, levels_of


class DistillationDataset(keras.utils.PyDataset):
    """Images of records as batches for `DecoupledDistiller.fit`.

    With a cache, images appear in the variants that it holds (flips and right-angle turns), one
    drawn at random each time, together with the teacher's features of that variant. For
    validation, make the cache with `variants=("identity",)`, in the same folder if you like.
    Without a cache the teacher runs on the batch itself, and any `Augmentation` can be used.

    With `steps`, an epoch is that many batches of images drawn at random; without, it is every
    image once, and the shorter of two parts starts over. Batches depend only on `seed`, the
    attribute `epoch` and the batch's number; see `SegmentationDataset`.

    Args:
        converter: the student's `HostImageConverter`, with an `image_size`.
        common: list of `Record` of natural or unlabelled images, or `None` for batches without
            them. Their masks and modalities are ignored.
        domain: list of `Record` with modalities, or `None`.
        modalities: tuple of str, the student's.
        batch_size: int. Images of the domain in a batch, and common ones.
        common_batch_size: int or None. Common images, if their number differs.
        steps: int or None. Batches per epoch, or one pass.
        balance: `"modality"`, `"dataset"`, `"target"`, a list of some of them, or None: what is
            drawn in equal shares, with `steps`; see `SegmentationDataset`.
        weights: dict of the name of a modality (data set, target) to float, for the domain.
        common_balance, common_weights: the same for the common images, which have no modality.
        one_modality_per_batch: bool. Draw a modality for each batch, and only images of it, as
            published; needs `steps`.
        shuffle: bool. Without `steps`, use another order in each epoch.
        augment: dict of modality or data set to `Augmentation`, for the domain without a cache.
        common_augment: `Augmentation` of the common images without a cache.
        common_caches: dict of teacher name to its `TeacherCache`, for all common teachers; the
            cache itself if there is one teacher; or `None`.
        domain_cache: `TeacherCache` of the domain's teacher, dict of modality to that of its own
            teacher, or `None`.
        labels: bool. Also return the masks of the domain's images, for the phase `"joint"`.
        targets: `Targets` of the student, as `segmenter.target_set`; None for one in each
            modality. What a record does not label is unknown.
        overlap: see `SegmentationDataset`.
        teacher_size: (height, width) at which the teachers see images, or None for the student's.
            Images are then read and augmented at this size, and made smaller for the student with
            their masks. It has the shape of the converter's `image_size`; not with a cache.
        self_prompt_targets: that of the student's backbone, `"union"` or `"each"`: whether its
            `patches` are those of any target.
        seed: int.
        cache, scan, strict: for the images, not the teachers; see `SegmentationDataset`.
        keep_common: bool or None. `cache` for the common images, if it differs.
        workers, use_multiprocessing, max_queue_size: see `SegmentationDataset`.

    Yields `(x,)`, or `(x, y)` with labels: `x` a dict of `common` (`{"images": (n, height, width,
    3) float32, "targets"}`) and `domain` (`{"images", "modalities": (m,) int32, "targets"}`), both
    with `teacher_images` if there is a `teacher_size`; `targets`, if there is a cache, a dict of
    teacher to dict of feature to `(n, h, w, channels)` float16; `y` a dict of `masks`
    `(m, height, width, channels)` and `patches`, float32, -1 in whole channels that are not
    labelled.

    Raises:
        InputError: for no records, bad files, an unknown modality, an augmentation or a teacher's
            size of cached images, such a size of another shape or below the student's, a cache that
            is incomplete or made from other images or with another converter, labels without
            masks, or `one_modality_per_batch` or weights without `steps`.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> image = tempfile.mkdtemp() + "/image.png"
        >>> Image.new("RGB", (40, 30), "red").save(image)
        >>> record = kem.data.Record("train", "fundus", "drive", image)
        >>> converter = ESPMedSAMImageConverter(image_size=(32, 32))
        >>> dataset = kem.distillation.DistillationDataset(
        ...     converter, domain=[record], modalities=("xray", "fundus"), batch_size=1)
        >>> (x,) = dataset[0]
        >>> x["domain"]["images"].shape, x["domain"]["modalities"].tolist()
        ((1, 32, 32, 3), [1])

    Source: ESP-MedSAM's sibling UN-SAM (arXiv 2402.16663), one modality per batch.
    """

    def __init__(
        self,
        converter,
        common=None,
        domain=None,
        modalities=(),
        batch_size=4,
        common_batch_size=None,
        steps=None,
        balance="modality",
        weights=None,
        common_balance="dataset",
        common_weights=None,
        one_modality_per_batch=False,
        shuffle=False,
        augment=None,
        common_augment=None,
        common_caches=None,
        domain_cache=None,
        labels=False,
        seed=0,
        cache=True,
        keep_common=None,
        scan=True,
        strict=True,
        workers=1,
        use_multiprocessing=False,
        max_queue_size=10,
        # Last, so that what version 0.1.0 took by position stays in its place.
        targets=None,
        overlap="error",
        self_prompt_targets="union",
        teacher_size=None,
    ):
        # Keras must start no workers: see `Prefetch`.
        super().__init__(workers=1, max_queue_size=max_queue_size)
        check_converter(converter)
        if not common and not domain:
            raise InputError("Received no records; give common ones, some of the domain, or both.")
        if one_modality_per_batch and not (steps and domain):
            raise InputError(
                "Received one_modality_per_batch without steps or without records of the domain; "
                "it works only for batches that are drawn at random."
            )
        for given in (weights, common_weights):
            check_weights(given, steps)
        if isinstance(common_caches, TeacherCache):
            common_caches = {common_caches.teacher_name: common_caches}
        domain_caches = {"domain": domain_cache} if domain_cache is not None else None
        _check_caches(common_caches, converter)
        _check_caches(domain_caches, converter)
        _check_domain(domain or (), modalities, labels, balance)
        self.converter = converter
        self.teacher_converter = None
        if teacher_size is not None and tuple(teacher_size) != tuple(converter.image_size):
            cached = bool(common_caches or domain_caches)
            check_teacher_size(teacher_size, converter.image_size, cached)
            self.teacher_converter = converter.at_size(
                check_image_size(teacher_size, converter.size_multiple)
            )
        self.labels = labels
        self.self_prompt_targets = self_prompt_targets
        self._counts = np.array([1 if targets is None else len(targets.of(m)) for m in modalities])
        self.epoch = 0
        self.left_out = []

        def images(records, cache, masks=False, options=None, **changes):
            records = [record if masks else record.without_masks() for record in records]
            records = [dataclasses.replace(record, **changes) for record in records]
            size, mode = (self.teacher_converter or converter).image_size, converter.resize_mode
            threads = workers if workers > 1 else None
            placed = ImageStore(
                records, size, mode, cache, scan, strict=strict, workers=threads,
                intensity=converter.intensity, **options or {},
            )  # fmt: skip
            self.left_out += placed.left_out
            return placed

        parts = {}
        if common:
            parts["common"] = PartDrawing(
                images(common, cache if keep_common is None else keep_common, modality=""),
                common_batch_size or batch_size,
                steps,
                balance=common_balance,
                weights=common_weights,
                shuffle=shuffle,
                augment={"": common_augment} if common_augment else None,
                seed=2 * seed,  # The parts have separate random generators.
                caches=common_caches,
            )
        if domain:
            parts["domain"] = PartDrawing(
                images(
                    domain,
                    cache,
                    # Without its masks, it is not known which targets an image shows.
                    masks=labels or "target" in levels_of(balance),
                    options={"targets": targets, "overlap": overlap},
                ),
                batch_size,
                steps,
                balance,
                weights,
                shuffle,
                augment,
                seed=2 * seed + 1,
                modalities=modalities,
                one_modality=one_modality_per_batch,
                caches=domain_caches,
                targets=targets,
            )
        self.records = {name: part.records for name, part in parts.items()}
        self._num_batches = max(part.num_batches for part in parts.values())
        self._prefetch = Prefetch(_Both(parts), workers, max_queue_size, use_multiprocessing)

    @property
    def num_batches(self):
        return self._num_batches

    def __getitem__(self, index):
        drawn = self._prefetch(self.epoch, index, self._num_batches)
        x = {}
        for name, (part, *_) in drawn.items():
            # It also makes images of the teachers' size smaller.
            x[name] = {**part, "images": self.converter.convert_batch(part["images"], AUTO)}
            if self.teacher_converter is not None:
                large = self.teacher_converter.convert_batch(part["images"], AUTO)
                x[name]["teacher_images"] = large
        if not self.labels:
            return (x,)
        _, masks, labelled = drawn["domain"]
        if self.teacher_converter is not None:
            place = Placement.of(masks.shape[1:3], self.converter.image_size)
            masks = np.stack([place.forward_mask(one) for one in masks])
        return x, self._truth(masks.astype("float32"), labelled, x["domain"]["modalities"])

    def _truth(self, masks, labelled, modalities):
        """Return masks and patches, -1 in channels that are not labelled."""
        truth = {"masks": masks, "patches": max_pool_patches(masks)}
        if masks.shape[-1] == 1:
            return truth
        for values in truth.values():
            np.copyto(values, np.float32(UNLABELLED), where=~labelled[:, None, None])
        if self.self_prompt_targets == "union":
            truth["patches"] = any_target(truth["patches"], self._counts[modalities])
        return truth

    def on_epoch_end(self):
        # Draw others in the next epoch; otherwise `fit` would show the same images again and again.
        self.epoch += 1


class _Both:
    """Draws all parts of a batch; uses no backend, so that it can run in threads and processes."""

    def __init__(self, parts):
        self.parts = parts

    def __call__(self, epoch, index):
        return {name: part(epoch, index) for name, part in self.parts.items()}


def _check_domain(records, modalities, labels, balance):
    unknown = {record.modality for record in records} - set(modalities)
    if unknown:
        raise InputError(
            f"Received records of {', '.join(sorted(name or 'no modality' for name in unknown))}; "
            f"the student knows {', '.join(modalities)}. Give others as common ones."
        )
    bare = [record for record in records if record.mask is None]
    if (labels and not records) or ((labels or "target" in levels_of(balance)) and bare):
        raise InputError(
            f"Received {'labels=True' if labels else 'balance=target'} and {len(bare)} of "
            f"{len(records)} records of the domain without a mask; expected masks for all of them."
        )


def _check_caches(caches, converter):
    for given in (caches or {}).values():
        for cache in given.values() if isinstance(given, dict) else [given]:
            own = cache.converter
            if (own.image_size, own.resize_mode) != (converter.image_size, converter.resize_mode):
                raise InputError(
                    f"Received a cache of images of {own.image_size} ({own.resize_mode}) and a "
                    f"converter to {converter.image_size} ({converter.resize_mode}); expected the "
                    "same. Make the cache with the student's converter."
                )
            if not cache.complete:
                raise InputError(
                    f"The cache in {cache.folder} is not complete; call its build() first, which "
                    "computes what is missing."
                )
