"""Compute a teacher's features of every image once and keep them on disk."""

import hashlib
from pathlib import Path

import keras
import numpy as np

from keras_espmedsam._plain_file import check_plain_file
from keras_espmedsam.distillation.feature_store import ABOUT, FeatureStore, free_bytes
from keras_espmedsam.distillation.mask_loss import MASKS
from keras_espmedsam.distillation.variants import checked_variants, vary
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.intensity import AUTO
from keras_espmedsam.inference.image_batches import filled_up
from keras_espmedsam.models.batch_prediction import compiled_alone
from keras_espmedsam.models.feature_specs import feature_specs
from keras_espmedsam.training.data.image_store import ImageStore

# Incremented if the same file is read or drawn to other pixels than before.
READING = 1


class TeacherCache:
    """Keep a teacher's features of images on disk, so that an epoch needs no teacher pass.

    An entry is one image in one variant, because a teacher is not equivariant: the features of a
    flipped image are not the flipped features. Its key is what it was computed from: the teacher
    (weights and configuration), the image (file content and index in the file), the preprocessing
    and, for a teacher with controllers, the modality. If any of these change, only the affected
    entries are computed again; old entries are kept. Features are memory-mapped, in half
    precision. Masks, if they are among the features, are logits with a channel for each target of
    the teacher, -inf in those that an image's modality has not; a teacher of other targets, or of
    other names for them, has entries of its own.

    Args:
        folder: path. Several teachers and sizes may share it.
        teacher: `Teacher`.
        records: list of `Record`, one per image; their masks are ignored.
        converter: the student's `HostImageConverter`, with an `image_size`.
        variants: tuple of str, of `"identity"`, `"hflip"`, `"vflip"`, `"rot90"`, `"rot180"`,
            `"rot270"`, `"transpose"` and `"antitranspose"`. All but `"identity"`, `"hflip"`,
            `"vflip"` and `"rot180"` need a square `image_size`.
        modalities: tuple of str, the student's modalities, for a teacher of the domain; `None`
            for a common one, which gets no modality.

    Raises:
        InputError: for no records, a file that cannot be read, a variant that is unknown or does
            not fit, a converter without a size or with another normalisation than ImageNet's, or
            a folder that holds something else.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (40, 30), "red").save(folder / "image.png")
        >>> record = kem.data.Record("train", "fundus", "drive", folder / "image.png", None)
        >>> image = keras.Input((32, 32, 3))
        >>> model = keras.Model(image, keras.layers.Conv2D(8, 16, strides=16)(image))
        >>> teacher = kem.distillation.Teacher(model)
        >>> converter = ESPMedSAMImageConverter(image_size=(32, 32))
        >>> cache = kem.distillation.TeacherCache(
        ...     folder / "cache", teacher, [record], converter, variants=("identity", "hflip"))
        >>> cache.build(announce=None)
        2
        >>> cache.targets(0, "hflip")["embedding"].shape
        (2, 2, 8)
    """

    def __init__(
        self, folder, teacher, records, converter, variants=("identity",), modalities=None
    ):
        if not records:
            raise InputError("Received no records to cache features of; give at least one.")
        check_converter(converter)
        self.folder = Path(folder)
        self.teacher = teacher
        self.teacher_name = teacher.name
        self.records = list(records)
        self.converter = converter
        self.variants = checked_variants(variants, converter.image_size)
        self.modalities = None
        if modalities is not None and teacher.takes_modalities:
            self.modalities = tuple(modalities)
            # As the teacher numbers them. One that it lacks takes the first's place, as in a batch.
            self._indices = [max(index, 0) for index in teacher.indices_of(self.modalities)]
        self._images = self._image_keys()
        self._rows = {self._identity(record): row for row, record in enumerate(self.records)}
        fingerprint = teacher.fingerprint()
        height, width = converter.image_size
        size = f"{height}x{width}-{converter.resize_mode}-{converter.normalization}"
        about = {
            "teacher": fingerprint,
            "image_size": [height, width],
            "resize_mode": converter.resize_mode,
            "normalization": converter.normalization,
            "reading": READING,
        }
        if teacher.target_set is not None:
            names = teacher.target_set
            about["targets"] = {one: list(names.channels(one)) for one in names.modalities}
        self._store = FeatureStore(self.folder / fingerprint[:16] / size, about, self._shapes())

    # === Asking ===

    @property
    def complete(self):
        """Whether the cache holds every image in every variant."""
        return not self._missing()

    def row(self, record):
        """Return the cache's row for a record's image.

        Args:
            record: `Record`. Its file, its index and, for a teacher with controllers, its
                modality matter; its mask, split and data set do not.

        Raises:
            InputError: for an image that is not in the cache.
        """
        identity = self._identity(record)
        if identity not in self._rows:
            raise InputError(
                f"{record.image} is not among the {len(self.records)} images of the cache in "
                f"{self.folder}; make the cache of the data set's own records."
            )
        return self._rows[identity]

    def targets(self, row, variant="identity"):
        """Return the features of one image in one variant.

        Args:
            row: int. Row of the record.
            variant: str, one of the cache's.

        Returns:
            dict of feature name to a read-only float16 array `(h, w, channels)`.

        Raises:
            InputError: for a variant that the cache does not have, an entry that has not been
                computed, or one whose checksum differs.
        """
        if variant not in self.variants:
            raise InputError(
                f"Received the variant {variant!r}; the cache in {self.folder} holds "
                f"{', '.join(self.variants)}."
            )
        key = self._key(row, variant)
        if key not in self._store:
            self._store.refresh()
        if key not in self._store:
            raise InputError(
                f"The cache in {self.folder} lacks {self.records[row].image} as {variant}; call "
                "build(), which computes what is missing."
            )
        return self._store.get(key)

    def required_bytes(self):
        """Return the bytes that `build` will write: 0 once the cache is complete."""
        return self._store.new_bytes(len(self._missing()))

    def disk_use(self):
        """Return a sentence that says how much space the cache takes and how much is free."""
        images, variants = len(set(self._images)), len(self.variants)
        total = images * variants * self._store.entry_bytes
        use = (
            f"The features of {images} image{'s' * (images > 1)} in {variants} "
            f"variant{'s' * (variants > 1)} by the teacher {self.teacher_name} take "
            f"{_readable(total)} in {self._store.folder}"
        )
        required = self.required_bytes()
        if 0 < required < total:
            use += f", {_readable(required)} of it new"
        use += f"; {_readable(free_bytes(self._store.folder))} are free."
        others = [path for path in self.folder.glob(f"*/*/{ABOUT}")]
        others = [path.parent for path in others if path.parent != self._store.folder]
        if others:
            held = sum(file.stat().st_size for path in others for file in path.glob("*.npy"))
            use += (
                f" {self.folder} also holds those of {len(others)} other teacher"
                f"{'s' * (len(others) > 1)} or preprocessing{'s' * (len(others) > 1)}, "
                f"{_readable(held)}, which are kept."
            )
        return use

    # === Building ===

    def build(self, batch_size=8, progress=None, announce=print):
        """Compute the missing entries; if the process is killed, call it again to continue.

        Args:
            batch_size: int. Images per teacher pass.
            progress: callable of (entries done, entries missing at the beginning), or `None`.
            announce: callable that gets the sentence of `disk_use` before anything is written, or
                `None`.

        Returns:
            int. How many entries were computed.

        Raises:
            InputError: if the disk has too little space, another process is building, an image
                cannot be read, or features do not fit into half precision.
        """
        missing = self._missing()
        if not missing:
            return 0
        if announce is not None:
            announce(self.disk_use())
        self._check_space()
        with self._store.writing() as store:
            missing = self._missing()  # Another process may have added some.
            if not missing:
                return 0
            self._check_space()
            images, entries = self._images_of(missing)
            store.reserve(len(entries))
            predictor = _Predictor(self.teacher)
            for start in range(0, len(entries), batch_size):
                batch = entries[start : start + batch_size]
                with compiled_alone(predictor):
                    found = predictor.predict_on_batch(self._inputs(images, batch, batch_size))
                store.put([key for key, *_ in batch], self._halved(found, images, batch))
                if progress is not None:
                    progress(start + len(batch), len(entries))
        return len(entries)

    def _images_of(self, missing):
        """Return the needed images and the missing entries: (key, row of the image, variant)."""
        rows = sorted({row for row, _ in missing.values()})
        records = [self.records[row].without_masks() for row in rows]
        size, mode = self.converter.image_size, self.converter.resize_mode
        # All are decoded before the first pass, so that a bad file does not stop a build of hours.
        images = ImageStore(
            records, size, mode, cache=False, strict=True, intensity=self.converter.intensity
        )
        if images.records != records:
            several = next(r for r in records if r not in images.records)
            raise InputError(
                f"{several.image} holds several images; expected a record for each, as "
                "check_records gives them."
            )
        numbers = {row: number for number, row in enumerate(rows)}
        return images, [(key, numbers[row], name) for key, (row, name) in missing.items()]

    def _inputs(self, images, batch, batch_size):
        # A smaller last batch would compile again.
        filled = filled_up(batch, batch_size)
        placed = images[[row for _, row, _ in filled]]
        moved = [vary(one[0], name) for one, (_, _, name) in zip(placed, filled, strict=True)]
        inputs = {"images": self.converter.convert_batch(np.stack(moved), AUTO)}
        if self.modalities is not None:
            indices = [self._modality(images.records[row]) for _, row, _ in filled]
            inputs["modalities"] = np.array(indices, "int32")
        return inputs

    def _halved(self, features, images, batch):
        halved = {}
        for name, array in features.items():
            array = np.asarray(array)[: len(batch)]
            with np.errstate(over="ignore"):
                halved[name] = array.astype("float16")
            for (_, row, _), value, half in zip(batch, array, halved[name], strict=True):
                fits = np.isfinite(half)
                if name == MASKS:  # Channels that the modality has not.
                    fits |= np.isneginf(value)
                if not fits.all():
                    raise InputError(
                        f"The teacher {self.teacher_name} gives {name!r} of "
                        f"{images.records[row].image} values up to {np.abs(value).max():g}; the "
                        "cache's half precision holds up to 65504. Train without a cache, or on "
                        "another feature."
                    )
        return halved

    def _check_space(self):
        required, free = self.required_bytes(), free_bytes(self._store.folder)
        if required > free:
            raise InputError(
                f"The cache needs {_readable(required)} more in {self._store.folder}, where "
                f"{_readable(free)} are free; free some space, choose another folder or fewer "
                "variants."
            )

    # === Keys ===

    def _missing(self):
        """Return a dict of key to (row, variant) of entries not in the store, each once."""
        wanted = {
            self._key(row, variant): (row, variant)
            for row in range(len(self.records))
            for variant in self.variants
        }
        return {key: place for key, place in wanted.items() if key not in self._store}

    def _key(self, row, variant):
        return f"{self._images[row]}-{variant}"

    def _image_keys(self):
        contents, keys = {}, []
        for record in self.records:
            if record.image not in contents:
                contents[record.image] = _content(record.image)
            key = f"{contents[record.image]}-{record.index or 0}"
            if self.modalities is not None:
                key += f"-m{self._modality(record)}"
            intensity = record.intensity or self.converter.intensity
            if intensity != AUTO:
                key += f"-i{intensity if isinstance(intensity, str) else list(intensity)}"
            keys.append(key)
        return keys

    def _identity(self, record):
        modality = None if self.modalities is None else record.modality
        return str(record.image), record.index or 0, modality

    def _modality(self, record):
        if record.modality not in self.modalities:
            raise InputError(
                f"Received a record of {record.modality or 'no modality'}; the teacher knows "
                f"{', '.join(self.modalities)}."
            )
        return self._indices[self.modalities.index(record.modality)]

    def _shapes(self):
        def features(images, modalities):
            return self.teacher(images, modalities if self.modalities is not None else None)

        specs = feature_specs(self.teacher.model, features, self.converter.image_size)
        return {name: spec.shape[1:] for name, spec in specs.items()}

    def __getstate__(self):
        # For the worker processes of a data set, which only read.
        return {**self.__dict__, "teacher": None, "converter": None}


class _Predictor(keras.Model):
    """Runs the teacher, compiled once."""

    def __init__(self, teacher):
        super().__init__(name="teacher_pass")
        self.teacher = teacher
        # On TensorFlow a graph without XLA, which is slower on CPUs and takes minutes to compile.
        self.compile(jit_compile=keras.backend.backend() == "jax")

    def call(self, inputs):
        return self.teacher(inputs["images"], inputs.get("modalities"))


def check_converter(converter):
    """Raise for a converter whose images make no batch, or are not what teachers expect.

    Raises:
        InputError: without an `image_size`, or with another normalisation than ImageNet's.
    """
    if converter.image_size is None:
        raise InputError(
            "Received a converter without image_size; a student learns from batches of one size, "
            "so give one."
        )
    if converter.normalization != "imagenet":
        raise InputError(
            f"Received a converter with normalization={converter.normalization!r}; teachers "
            'get the student\'s images and expect "imagenet".'
        )


def _content(path):
    try:
        check_plain_file(path)
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check the path.") from error


def _readable(count):
    """Format bytes with a unit."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
