"""Batches for `DecoupledDistiller` from files, with the teachers' cached features."""

import dataclasses

import keras

from keras_espmedsam.distillation.part_drawing import PartDrawing
from keras_espmedsam.distillation.teacher_cache import TeacherCache, check_converter
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.intensity import AUTO
from keras_espmedsam.models.esp_medsam.esp_medsam_image_segmenter_preprocessor import (
    max_pool_patches,
)
from keras_espmedsam.training.data.image_store import ImageStore
from keras_espmedsam.training.data.prefetch import Prefetch
from keras_espmedsam.training.data.sampling_weights import check_weights


class DistillationDataset(keras.utils.PyDataset):
    """Images of records as batches for `DecoupledDistiller.fit`.

    With a cache, images are seen in the variants that it holds (flips and right-angle turns),
    one drawn at random each time, beside the teacher's features of just that variant; for
    validation, make the cache with `variants=("identity",)`, the folder may be the same. Without
    a cache the teacher looks at the batch itself, and any `Augmentation` serves.

    With `steps`, an epoch is that many batches of images drawn at random; without, it is every
    image once, and of two parts the shorter begins again. What is drawn depends on `seed`, the
    attribute `epoch` and the batch's number alone; see `SegmentationDataset`.

    Args:
        converter: the student's `HostImageConverter`, with an `image_size`.
        common: list of `Record` of natural or unlabelled images, or `None`: batches have no
            such part. Their masks and modalities are not looked at.
        domain: list of `Record` with modalities, or `None`.
        modalities: tuple of str, the student's.
        batch_size: int. Images of the domain in a batch, and common ones.
        common_batch_size: int or None. Common ones, where they are to be another number.
        steps: int or None. Batches per epoch, or one pass.
        balance: `"modality"`, `"dataset"` or None: what is drawn in equal shares, with `steps`.
        weights: dict of the name of a modality (or data set) to float, for the domain.
        common_balance, common_weights: the same of the common images, which have no modality.
        one_modality_per_batch: bool. Draw a modality for each batch, and images of it alone, as
            published; needs `steps`.
        shuffle: bool. Without `steps`, another order in each epoch.
        augment: dict of modality or data set to `Augmentation`, for the domain without a cache.
        common_augment: `Augmentation` of the common images without a cache.
        common_caches: dict of teacher name to its `TeacherCache`, for all common teachers; a
            cache alone where there is one; or `None`.
        domain_cache: `TeacherCache` of the teacher of the domain, dict of modality to that of
            its own teacher, or `None`.
        labels: bool. Give the masks of the domain's images too, for the phase `"joint"`.
        seed: int.
        cache, scan, strict: of the images, not of the teachers; see `SegmentationDataset`.
        keep_common: bool or None. `cache` of the common images, where it is to be otherwise.
        workers, use_multiprocessing, max_queue_size: see `SegmentationDataset`.

    Gives `(x,)`, or `(x, y)` with labels: `x` a dict of `common` (`{"images": (n, height, width,
    3) float32, "targets"}`) and `domain` (`{"images", "modalities": (m,) int32, "targets"}`),
    `targets` a dict of teacher to dict of feature to `(n, h, w, channels)` float16, where there is
    a cache; `y` a dict of `masks` `(m, height, width, 1)` and `patches`, float32.

    Raises:
        InputError: for no records, bad files, a modality that the student does not know, an
            augmentation of cached images, a cache that is incomplete or of other images or
            another converter, labels without masks, or without `steps` `one_modality_per_batch`
            or weights.

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

    Source: ours; one modality per batch: ESP-MedSAM's sibling UN-SAM (arXiv 2402.16663).
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
    ):
        # Keras is to start no workers: see `Prefetch`.
        super().__init__(workers=1, max_queue_size=max_queue_size)
        check_converter(converter)
        if not common and not domain:
            raise InputError("Received no records; give common ones, some of the domain, or both.")
        if one_modality_per_batch and not (steps and domain):
            raise InputError(
                "Received one_modality_per_batch without steps or without records of the domain; "
                "it is for batches that are drawn at random."
            )
        for given in (weights, common_weights):
            check_weights(given, steps)
        if isinstance(common_caches, TeacherCache):
            common_caches = {common_caches.teacher_name: common_caches}
        domain_caches = {"domain": domain_cache} if domain_cache is not None else None
        _check_caches(common_caches, converter)
        _check_caches(domain_caches, converter)
        _check_domain(domain or (), modalities, labels)
        self.converter = converter
        self.labels = labels
        self.epoch = 0
        self.left_out = []

        def images(records, cache, **changes):
            records = [dataclasses.replace(record, **changes) for record in records]
            size, mode = converter.image_size, converter.resize_mode
            threads = workers if workers > 1 else None
            placed = ImageStore(
                records, size, mode, cache, scan, strict=strict, workers=threads,
                intensity=converter.intensity,
            )  # fmt: skip
            self.left_out += placed.left_out
            return placed

        parts = {}
        if common:
            parts["common"] = PartDrawing(
                images(
                    common, cache if keep_common is None else keep_common, modality="", mask=None
                ),
                common_batch_size or batch_size,
                steps,
                balance=common_balance,
                weights=common_weights,
                shuffle=shuffle,
                augment={"": common_augment} if common_augment else None,
                seed=2 * seed,  # The parts draw from generators of their own.
                caches=common_caches,
            )
        if domain:
            parts["domain"] = PartDrawing(
                images(domain, cache, **({} if labels else {"mask": None})),
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
        for name, (part, _) in drawn.items():
            x[name] = {**part, "images": self.converter.convert_batch(part["images"], AUTO)}
        if not self.labels:
            return (x,)
        masks = drawn["domain"][1].astype("float32")
        return x, {"masks": masks, "patches": max_pool_patches(masks)}

    def on_epoch_end(self):
        # New draws for the next epoch, else `fit` would show the same images again and again.
        self.epoch += 1


class _Both:
    """Draws all parts of a batch; uses no backend, so that it runs in threads and processes."""

    def __init__(self, parts):
        self.parts = parts

    def __call__(self, epoch, index):
        return {name: part(epoch, index) for name, part in self.parts.items()}


def _check_domain(records, modalities, labels):
    unknown = {record.modality for record in records} - set(modalities)
    if unknown:
        raise InputError(
            f"Received records of {', '.join(sorted(name or 'no modality' for name in unknown))}; "
            f"the student knows {', '.join(modalities)}. Give others as common ones."
        )
    bare = [record for record in records if record.mask is None]
    if labels and (bare or not records):
        raise InputError(
            f"Received labels=True and {len(bare)} of {len(records)} records of the domain "
            "without a mask; expected masks for all of them."
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
                    f"The cache in {cache.folder} is not complete; call its build() before, which "
                    "computes what is missing."
                )
