"""Distillation as a configuration says, resumable: what `espmedsam distill` does."""

import time

import keras

from keras_espmedsam import losses
from keras_espmedsam.data import check_records
from keras_espmedsam.distillation.config import DistillConfig
from keras_espmedsam.distillation.distillation_dataset import DistillationDataset
from keras_espmedsam.distillation.distiller import DecoupledDistiller
from keras_espmedsam.distillation.feature_loss import FeatureLoss
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
from keras_espmedsam.training.run.run_record import PRESET, begin_run, hold_run
from keras_espmedsam.training.training_run import fit, how_to_measure, make_run

MEDICAL_TEACHER = "medical_teacher"


def distill(config, overrides=(), report=print, verbose="auto"):
    """Distil a light segmenter in phases; called again after an interruption, go on where it was.

    Each phase trains in a folder of its own, a `RunFolder`, from the best weights of the one
    before. In the end the student is written as a preset; so is the medical teacher, when it was
    trained here.

    Args:
        config: path of a YAML file, dict, or `DistillConfig`.
        overrides: changes such as `"phases.0.epochs=1"`.
        report: called with sentences about what is done.
        verbose: see `keras.Model.fit`.

    Returns:
        `pathlib.Path`. The preset's folder.

    Raises:
        InputError: for a configuration or data that cannot be used, or a run that was begun with
            another configuration.

    Source: the phases: ESP-MedSAM (arXiv 2407.14153), section 3; `both` and `joint` are ours.
    """
    config = load_settings(DistillConfig, config, overrides)
    for phase in config.phases:  # Arguments that do not fit are told now, and not in that phase.
        losses.get(phase.label_loss)
        for term in phase.losses:
            FeatureLoss(loss=term.loss)
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
    report(f"{'Going on' if resumed else 'Distilling'} in {config.output}.")
    run = DistillationRun(config, devices, report, verbose)
    for number, phase in enumerate(config.phases):
        run.do(number, phase)
    if devices.is_main:
        student = run.student("float32")
        take_intensity(student, (config.data or config.common_data).intensity)
        report(write_preset(student, preset))
    report(how_to_measure(preset))
    return preset


class DistillationRun:
    """The phases, what is handed from one to the next, and what they are made of.

    Args:
        config: `DistillConfig`.
        devices: `Devices`.
        report: called with sentences about what is done.
        verbose: see `keras.Model.fit`.

    Source: ours.
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
        """Train a phase, or go on with it.

        Args:
            number: int. Of the phase, from 0.
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
                self.report(write_preset(teacher, config.output / MEDICAL_TEACHER))
        else:
            self.student_run = run

    # === Models ===

    def student(self, precision=None):
        """The student, with the best weights of the phases before; `None`: the run's precision."""
        student = self._model(self.config.student, precision)
        if self.student_run is not None:
            self.student_run.load_best(student)
        return student

    def medical_teacher(self, precision=None):
        """The medical teacher, with the best weights of its phase where it was trained."""
        teacher = self._model(self.config.medical_teacher, precision)
        if self.teacher_run is not None:
            self.teacher_run.load_best(teacher)
        return teacher

    def _model(self, settings, precision):
        config = self.config
        return build_segmenter(
            with_position_grid(settings, config.image_size),
            config.image_size,
            config.resize_mode,
            precision or config.precision,
            config.gradient_checkpointing and precision is None,
        )

    def common_teachers(self, features):
        """The teachers of common knowledge, each a `Teacher`.

        Args:
            features: tuple of str. What they give.
        """
        return [named_teacher(settings, features) for settings in self.config.common_teachers]

    def domain_teacher(self, medical, features):
        """The `Teacher` that a medical teacher is.

        Args:
            medical: `ESPMedSAMImageSegmenter`.
            features: tuple of str. What it gives.
        """
        normalization = medical.preprocessor.image_converter.normalization
        return Teacher(medical, normalization, features=features, name="medical")

    def distiller(self, phase, student, common, domain):
        """The model that trains the student in a phase.

        Args:
            phase: `DistillPhaseSettings`.
            student: `ESPMedSAMImageSegmenter`.
            common: list of `Teacher`, or `None`.
            domain: `Teacher`, or `None`.
        """
        return DecoupledDistiller(
            student,
            common_teachers=common,
            domain_teachers=domain,
            phase=phase.phase,
            losses=[
                FeatureLoss(term.student, term.teacher, term.loss, term.weight)
                for term in phase.losses
            ],
            label_losses=losses.get(phase.label_loss),
            label_weight=phase.label_weight,
        )

    def optimizer(self, phase, model, steps):
        """The optimiser of a phase.

        Args:
            phase: `DistillPhaseSettings`.
            model: the model whose weights are trained.
            steps: int. Batches in an epoch.
        """
        rate = make_learning_rate(phase.learning_rate, phase.epochs, steps)
        return make_optimizer(phase.optimizer, rate, model, self.config.precision)

    # === Images ===

    def _records(self, stream):
        """Train and val records of a stream, bad files told once and left out."""
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
        """Caches of the teachers' features, for training and for validation.

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
        """The training and the validation data of a phase.

        Args:
            phase: `DistillPhaseSettings`.
            model: the segmenter whose modalities and size of image they have.
            streams: tuple of `"common"` and `"domain"`.
            labels: bool. Whether there are masks with the images of the domain.
            caches: as `caches` gives them.

        Returns:
            Two `DistillationDataset`.
        """
        config = self.config
        converter = model.preprocessor.image_converter
        if converter.image_size is None:
            raise InputError(
                "The configuration gives no image_size, and its model none either; give the size "
                "of the images."
            )
        augment = make_augmentation(
            config.augmentation,
            model.modalities,
            self._records("domain")["train"] if "domain" in streams else (),
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
        )
        if domain is not None:
            options["cache"] = domain.keep_in_memory
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


def _common(config):
    """How images without a modality are changed: as the configuration's `default` says."""
    return make_augmentation(config.augmentation, ("default",)).get("default")
