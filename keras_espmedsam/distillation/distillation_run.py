"""Distil from a configuration, resumably: the implementation of `espmedsam distill`."""

import time

import keras

from keras_espmedsam import losses
from keras_espmedsam.data import check_records
from keras_espmedsam.distillation.config import DistillConfig
from keras_espmedsam.distillation.distillation_dataset import DistillationDataset
from keras_espmedsam.distillation.distilled_from import distilled_from
from keras_espmedsam.distillation.distiller import DecoupledDistiller
from keras_espmedsam.distillation.feature_loss import FeatureLoss
from keras_espmedsam.distillation.mask_loss import MaskLoss
from keras_espmedsam.distillation.named_teacher import named_teacher
from keras_espmedsam.distillation.teacher import Teacher
from keras_espmedsam.distillation.teacher_cache import TeacherCache
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.write_preset import write_preset
from keras_espmedsam.training.build_segmenter import (
    build_segmenter,
    take_intensity,
    with_position_grid,
)
from keras_espmedsam.training.config.settings import load_settings
from keras_espmedsam.training.data.make_augmentation import make_augmentation
from keras_espmedsam.training.data.read_sources import read_sources
from keras_espmedsam.training.devices.distribution import distribute
from keras_espmedsam.training.make_optimizer import make_learning_rate, make_optimizer
from keras_espmedsam.training.run.begun_from import begun_from
from keras_espmedsam.training.run.run_record import PRESET, begin_run, hold_run
from keras_espmedsam.training.training_run import fit, how_to_measure, make_run

MEDICAL_TEACHER = "medical_teacher"


def distill(config, overrides=(), report=print, verbose="auto"):
    """Distil a light segmenter in phases; after an interruption, call it again to resume.

    Each phase trains in its own `RunFolder`, starting from the best weights of the phase before. At
    the end the student is saved as a preset, and the medical teacher too if it was trained here.

    Args:
        config: path of a YAML file, dict, or `DistillConfig`.
        overrides: changes such as `"phases.0.epochs=1"`.
        report: called with sentences about the progress.
        verbose: see `keras.Model.fit`.

    Returns:
        `pathlib.Path`. The preset's folder.

    Raises:
        InputError: for an invalid configuration or data, or a run that was started with another
            configuration.

    Source: ESP-MedSAM (arXiv 2407.14153), section 3. Departs from the paper: the phases `both` and
    `joint` are additions.
    """
    config = load_settings(DistillConfig, config, overrides)
    for phase in config.phases:  # Report wrong arguments now, not when that phase starts.
        losses.get(phase.label_loss)
        for term in phase.losses:
            _made(term)
    with distribute(config.devices) as devices:
        if not devices.is_main:
            report, verbose = (lambda sentence: None), 0
        with hold_run(config, devices.is_main):
            return _distill(config, devices, report, verbose)


def _distill(config, devices, report, verbose):
    preset = config.output / PRESET
    resumed = begin_run(config) if devices.is_main else False
    if preset.exists():
        report(f"The run in {config.output} is done.")
        return preset
    report(f"{'Resuming' if resumed else 'Distilling'} in {config.output}.")
    # Now, so that what cannot be read stops the run before it begins.
    origins = distilled_from(config) if devices.is_main else []
    run = DistillationRun(config, devices, report, verbose)
    for number, phase in enumerate(config.phases):
        run.do(number, phase)
    if devices.is_main:
        student = run.student("float32")
        take_intensity(student, (config.data or config.common_data).intensity)
        report(write_preset(student, preset, origins))
    report(how_to_measure(preset))
    return preset


class DistillationRun:
    """Runs the phases: builds their models and data, and passes weights from one to the next.

    Args:
        config: `DistillConfig`.
        devices: `Devices`.
        report: called with sentences about the progress.
        verbose: see `keras.Model.fit`.
    """

    def __init__(self, config, devices, report, verbose):
        self.config = config
        self.devices = devices
        self.report = report
        self.verbose = verbose
        self.student_run = None
        self.teacher_run = None
        self.records = {}

    def do(self, number, phase):
        """Train a phase, or resume it.

        Args:
            number: int. Number of the phase, from 0.
            phase: `DistillPhaseSettings`.
        """
        config, devices = self.config, self.devices
        run = make_run(config, number, devices, *phase.kind.monitor)
        if not run.is_done(phase.epochs):
            keras.utils.set_random_seed(config.seed + number)
            model, training, validation = phase.kind.begin(self, phase)
            self.report(f"{run.folder.name}: epoch {run.epoch + 1} to {phase.epochs}.")
            fit(run, devices, model, training, validation, phase.epochs, self.verbose)
        self.report(f"{run.folder.name}: {run.said_best()}")
        if phase.kind.trains == MEDICAL_TEACHER:
            self.teacher_run = run
            if devices.is_main and not (config.output / MEDICAL_TEACHER).exists():
                teacher = self.medical_teacher("float32")
                origins = begun_from(config.medical_teacher)
                self.report(write_preset(teacher, config.output / MEDICAL_TEACHER, origins))
        else:
            self.student_run = run

    # === Models ===

    def student(self, precision=None):
        """Return the student with its best weights so far; `None` is the run's precision."""
        student = self._model(self.config.student, precision, self.config.image_size)
        if self.student_run is not None:
            self.student_run.load_best(student)
            student.weights_change()  # What its preset held for its own weights.
        return student

    def medical_teacher(self, precision=None):
        """Return the medical teacher, with the best weights of its phase if it was trained."""
        size = self.config.teacher_image_size or self.config.image_size
        teacher = self._model(self.config.medical_teacher, precision, size)
        if self.teacher_run is not None:
            self.teacher_run.load_best(teacher)
            teacher.weights_change()  # The same.
        return teacher

    def _model(self, settings, precision, image_size):
        config = self.config
        return build_segmenter(
            with_position_grid(settings, image_size),
            image_size,
            config.resize_mode,
            precision or config.precision,
            config.gradient_checkpointing and precision is None,
        )

    def common_teachers(self, features):
        """Return the teachers of common knowledge, each a `Teacher`.

        Args:
            features: tuple of str. The features that they return.
        """
        return [named_teacher(settings, features) for settings in self.config.common_teachers]

    def domain_teacher(self, medical, features):
        """Return a medical teacher as a `Teacher`.

        Args:
            medical: `ESPMedSAMImageSegmenter`.
            features: tuple of str. The features that it returns.
        """
        normalization = medical.preprocessor.image_converter.normalization
        return Teacher(medical, normalization, features=features, name="medical")

    def distiller(self, phase, student, common, domain):
        """Return the model that trains the student in a phase.

        Args:
            phase: `DistillPhaseSettings`.
            student: `ESPMedSAMImageSegmenter`.
            common: list of `Teacher`, or `None`.
            domain: `Teacher`, or `None`.
        """
        distiller = DecoupledDistiller(
            student,
            common_teachers=common,
            domain_teachers=domain,
            phase=phase.phase,
            losses=[_made(term) for term in phase.losses],
            label_losses=losses.get(phase.label_loss),
            label_weight=phase.label_weight,
        )
        if distiller.matched_targets is not None:
            self.report(distiller.matched_targets.said())
        return distiller

    def optimizer(self, phase, model, steps):
        """Return the optimizer of a phase.

        Args:
            phase: `DistillPhaseSettings`.
            model: the model to train.
            steps: int. Batches per epoch.
        """
        rate = make_learning_rate(phase.learning_rate, phase.epochs, steps)
        return make_optimizer(phase.optimizer, rate, model, self.config.precision)

    # === Images ===

    def _records(self, stream):
        """Return train and val records of a stream without bad files, which are reported once."""
        if stream not in self.records:
            settings = self.config.data if stream == "domain" else self.config.common_data
            found = read_sources(settings, labelled=stream == "domain")
            for split, records in found.items():
                found[split], left_out = check_records(records, settings.strict)
                self.report(f"{len(found[split])} {stream} images for {split}.")
                if left_out:
                    self.report(f"{len(left_out)} left out of them:")
                    for _, reason in left_out:
                        self.report(f"  {reason}")
            self.records[stream] = found
        return self.records[stream]

    def caches(self, student, common, domain):
        """Return caches of the teachers' features, for training and for validation.

        Args:
            student: `ESPMedSAMImageSegmenter`.
            common: list of `Teacher`, or `None`.
            domain: `Teacher`, or `None`.

        Returns:
            Two dicts of arguments of `DistillationDataset`.
        """
        caches = {}, {}
        settings = self.config.cache
        if settings is None:
            return caches
        converter = student.preprocessor.image_converter
        teachers = [("common", teacher) for teacher in common or ()]
        teachers += [("domain", domain)] if domain is not None else []
        for cache, split, variants in (
            (caches[0], "train", settings.variants),
            (caches[1], "val", ["identity"]),
        ):
            for stream, teacher in teachers:
                made = TeacherCache(
                    settings.folder,
                    teacher,
                    self._records(stream)[split],
                    converter,
                    variants=tuple(variants),
                    modalities=student.modalities if stream == "domain" else None,
                )
                if self.devices.is_main:
                    made.build(announce=self.report)
                while not made.complete:  # Another process is building it.
                    time.sleep(0.5)
                if stream == "domain":
                    cache["domain_cache"] = made
                else:
                    cache.setdefault("common_caches", {})[teacher.name] = made
        return caches

    def datasets(self, phase, model, streams, labels, caches=({}, {})):
        """Return the training and the validation data of a phase.

        Args:
            phase: `DistillPhaseSettings`.
            model: the segmenter that sets the modalities and the image size.
            streams: tuple of `"common"` and `"domain"`.
            labels: bool. Whether to include the masks of the domain's images.
            caches: result of `caches`.

        Returns:
            Two `DistillationDataset`.
        """
        config = self.config
        converter = model.preprocessor.image_converter
        if converter.image_size is None:
            raise InputError(
                "The configuration gives no image_size, and its model has none either; give the "
                "size of the images."
            )
        augment = make_augmentation(
            config.augmentation,
            model.modalities,
            self._records("domain")["train"] if "domain" in streams else (),
            appearance=config.appearance,
            excluded=() if config.data is None else config.data.exclude_datasets,
        )
        domain = config.data if "domain" in streams else None
        common = config.common_data if "common" in streams else None
        options = dict(
            modalities=model.modalities,
            batch_size=phase.batch_size,
            common_batch_size=phase.common_batch_size,
            labels=labels,
            seed=config.seed,
            workers=max(data.workers for data in (domain, common) if data is not None),
            # Of the teacher's own phase it is the converter's.
            teacher_size=config.teacher_image_size,
        )
        if domain is not None:
            options |= dict(
                cache=domain.keep_in_memory,
                targets=model.target_set,
                overlap=domain.overlap,
                self_prompt_targets=model.backbone.self_prompt_targets,
            )
        if common is not None:
            options["keep_common"] = common.keep_in_memory
        records = {stream: self._records(stream) for stream in streams}
        sets = []
        for split, cache in zip(("train", "val"), caches, strict=True):
            drawn = {}
            if split == "train":
                drawn = dict(
                    steps=phase.steps,
                    shuffle=phase.steps is None,
                    one_modality_per_batch=phase.one_modality and "domain" in streams,
                    augment=None if "domain_cache" in cache else augment,
                    common_augment=None if "common_caches" in cache else _common(config),
                )
                if domain is not None:
                    drawn |= dict(balance=domain.balance, weights=phase.weights_of(domain))
                if common is not None:
                    drawn |= dict(
                        common_balance=common.balance, common_weights=phase.weights_of(common)
                    )
            sets.append(
                DistillationDataset(
                    converter,
                    **{stream: records[stream][split] for stream in streams},
                    **options,
                    **drawn,
                    **cache,
                )
            )
        return sets


def _made(term):
    """Make a term of the loss from its `FeatureLossSettings`."""
    if term.of_masks:
        return MaskLoss(term.loss, term.weight)
    return FeatureLoss(term.student, term.teacher, term.loss, term.weight)


def _common(config):
    """Augmentation of images without a modality: the configuration's `default`."""
    made = make_augmentation(config.augmentation, ("default",), appearance=config.appearance)
    return made.get("default")
