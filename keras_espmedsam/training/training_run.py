"""Train from a configuration, resumably: the implementation of `espmedsam train`."""

import keras
import numpy as np

from keras_espmedsam import losses
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.write_preset import write_preset
from keras_espmedsam.imaging.intensity import AUTO
from keras_espmedsam.training.batch_norm import freeze_batch_norm
from keras_espmedsam.training.build_segmenter import (
    build_segmenter,
    take_intensity,
    with_position_grid,
)
from keras_espmedsam.training.config.settings import load_settings
from keras_espmedsam.training.config.train_config import TrainConfig
from keras_espmedsam.training.data.make_augmentation import make_augmentation, make_layers
from keras_espmedsam.training.data.read_sources import read_sources
from keras_espmedsam.training.data.segmentation_dataset import SegmentationDataset
from keras_espmedsam.training.devices.distribution import distribute
from keras_espmedsam.training.make_optimizer import make_learning_rate, make_optimizer
from keras_espmedsam.training.run.begun_from import begun_from
from keras_espmedsam.training.run.run_folder import RunFolder
from keras_espmedsam.training.run.run_record import PRESET, begin_run, hold_run
from keras_espmedsam.training.trainable_parts import select_trainable


def train(config, overrides=(), report=print, verbose="auto", build=build_segmenter):
    """Train a segmenter in phases; after an interruption, call it again to resume.

    Each phase trains in its own `RunFolder`, starting from the best weights of the phase before. At
    the end the best weights of the last phase are saved as a preset. With `model.add_modality`, a
    modality is added to the preset, and only this modality is trained.

    Args:
        config: path of a YAML file, dict, or `TrainConfig`.
        overrides: changes such as `"phases.0.epochs=1"`.
        report: called with sentences about the progress.
        verbose: see `keras.Model.fit`.
        build: function with the arguments of `build_segmenter` that builds the segmenter; pass
            your own to train another network on the same images in the same way.

    Returns:
        `pathlib.Path`. The preset's folder.

    Raises:
        InputError: for an invalid configuration or data, or a run that was started with another
            configuration.

    Source: ESP-MedSAM (arXiv 2407.14153), modality transfer.
    """
    config = load_settings(TrainConfig, config, overrides)
    for phase in config.phases:  # Report wrong arguments now, not when that phase starts.
        losses.get(phase.loss)
    with distribute(config.devices) as devices:
        if not devices.is_main:
            report, verbose = _say_nothing, 0
        with hold_run(config, devices.is_main):
            preset = _train(config, devices, report, verbose, build)
        report(how_to_measure(preset))
        return preset


def _train(config, devices, report, verbose, build):
    preset = config.output / PRESET
    resumed = begin_run(config) if devices.is_main else False
    if preset.exists():
        report(f"The run in {config.output} is done.")
        return preset
    report(f"{'Resuming' if resumed else 'Training'} in {config.output}.")
    # Now, so that what cannot be read stops the run before it begins.
    origins = begun_from(config.model) if devices.is_main else []
    model = with_position_grid(config.model, config.phases[0].image_size)
    before, sets = None, _Sets(config, report)
    for number, phase in enumerate(config.phases):
        run = make_run(config, number, devices, "val_masks_dice", "max")
        if not run.is_done(phase.epochs):
            keras.utils.set_random_seed(config.seed + number)
            segmenter = build(
                model,
                phase.image_size,
                phase.resize_mode,
                config.precision,
                config.gradient_checkpointing,
            )
            if before is not None:
                before.load_best(segmenter)
            training, validation = sets.of(segmenter, phase)
            _compile(segmenter, phase, training.num_batches, config.precision)
            report(f"{run.folder.name}: epoch {run.epoch + 1} to {phase.epochs}.")
            fit(run, devices, segmenter, training, validation, phase.epochs, verbose)
        report(f"{run.folder.name}: {run.said_best()}")
        before = run
    if devices.is_main:
        trained = _trained(config, model, before, sets, build)
        report(write_preset(trained, preset, origins))
    return preset


def _trained(config, model, run, sets, build):
    """Return the segmenter to save as the preset."""
    if model.keeps_preset:
        # Keep the preset's sizes, black and white: its other masks depend on them.
        segmenter = build(model)
        run.load_best(segmenter)
        said = config.data.intensity or sets.common_intensity()
        if said not in (None, segmenter.preprocessor.image_converter.intensity):
            said = said if isinstance(said, str) else f"{said[0]:g}:{said[1]:g}"
            added = model.add_modality
            images = "such images" if added is None else f"images of {added.name}"
            sets.report(
                f"The preset keeps its own black and white; segment {images} with --intensity "
                f"{said}."
            )
        return segmenter
    last = config.phases[-1]
    segmenter = build(model, last.image_size, last.resize_mode)
    run.load_best(segmenter)
    segmenter.weights_change()  # What the preset held for its own weights.
    take_intensity(segmenter, config.data.intensity or sets.common_intensity())
    return segmenter


def make_run(config, number, devices, monitor, mode):
    """The `RunFolder` of a phase.

    Args:
        number: int. Number of the phase, from 0.
        devices: `Devices`.
        monitor, mode: see `RunFolder`.
    """
    patience = config.early_stopping.patience if config.early_stopping else None
    folder = config.phase_folders()[number]
    return RunFolder(folder, monitor, mode, patience, config.tensorboard, devices.is_main)


def fit(run, devices, model, training, validation, epochs, verbose):
    """Train a compiled model in its `RunFolder` on all devices."""
    devices.prepare(model)
    run.fit(
        model,
        devices.share(training),
        validation_data=devices.whole(validation),
        epochs=epochs,
        callbacks=devices.callbacks(),
        verbose=verbose,
    )


def how_to_measure(preset):
    """Return the sentence with which a run ends.

    Args:
        preset: path of the preset's folder.
    """
    return f"Measure it with: espmedsam evaluate --preset {preset} --data INDEX.csv --split test"


def _say_nothing(sentence):
    """Replaces `report` in all processes except the first."""


def _compile(segmenter, phase, steps, precision):
    if (phase.parts, phase.modalities) != ("all", "all"):
        select_trainable(segmenter, phase.parts, phase.modalities)
    if phase.batch_norm == "frozen":
        freeze_batch_norm(segmenter)
    rate = make_learning_rate(phase.learning_rate, phase.epochs, steps)
    segmenter.compile(
        optimizer=make_optimizer(phase.optimizer, rate, segmenter, precision), loss=phase.loss
    )


class _Sets:
    """The data sets of each phase; each problem in them is reported once."""

    def __init__(self, config, report):
        self.config = config
        self.report = report
        self.records = None
        self.reported = set()

    def common_intensity(self):
        """Black and white of all training images, if the same is given for each."""
        records = self.records or self.read()
        said = {record.intensity for record in records["train"]}
        return said.pop() if len(said) == 1 else None

    def read(self):
        added = self.config.model.add_modality
        return read_sources(self.config.data, modality=None if added is None else added.name)

    def of(self, segmenter, phase):
        config, data = self.config, self.config.data
        if self.records is None:
            self.records = self.read()
        converter = segmenter.preprocessor.image_converter
        added = config.model.add_modality
        native = phase.resize_mode == "native"
        if config.model.keeps_preset:  # It trains like the preset.
            native = converter.image_size is None
        size = phase.image_size or converter.image_size
        if size is None:
            raise InputError(
                "The configuration gives a phase no image_size, and its model has none either; "
                "give the size of the canvas that images are drawn on."
            )
        options = dict(
            modalities=segmenter.modalities,
            batch_size=phase.batch_size,
            resize_mode="native" if native else phase.resize_mode or converter.resize_mode,
            strict=data.strict,
            cache=data.keep_in_memory,
            workers=data.workers,
            seed=config.seed,
            intensity=converter.intensity,
            targets=segmenter.target_set,
            overlap=data.overlap,
        )
        converter.intensity = AUTO  # The data sets yield brightness.
        training = SegmentationDataset(
            self.records["train"],
            image_size=size,
            steps=phase.steps,
            shuffle=phase.steps is None,
            balance=data.balance,
            weights=phase.weights_of(data),
            augment=make_augmentation(
                config.augmentation if phase.augmentation is None else phase.augmentation,
                segmenter.modalities,
                self.records["train"],
                added,
                config.appearance if phase.appearance is None else phase.appearance,
                data.exclude_datasets,
            ),
            layers=make_layers(config.keras_augmentation),
            **options,
        )
        validation = SegmentationDataset(
            self.records["val"], image_size=None if native else size, **options
        )
        for name, dataset in (("training", training), ("validation", validation)):
            self._report(name, dataset, segmenter)
        return training, validation

    def _report(self, name, dataset, segmenter):
        if name in self.reported:
            return
        self.reported.add(name)
        self.report(f"{len(dataset.records)} images for {name}.")
        if segmenter.target_set.num_channels > 1:
            self._report_targets(name, dataset, segmenter)
        if dataset.left_out:
            self.report(f"{len(dataset.left_out)} left out of {name}:")
            for _, reason in dataset.left_out:
                self.report(f"  {reason}")
        for notice, count in dataset.notices.items():
            self.report(f"Of {count} images for {name}: {notice}.")
        # A data set from which the model can learn only to find nothing.
        found: dict[str, list[bool | None]] = {}
        for record, blank in zip(dataset.records, dataset.blank, strict=True):
            found.setdefault(record.dataset, []).append(blank)
        without = [dataset for dataset, blank in found.items() if all(blank)]
        if name == "training" and len(without) == len(found):
            raise InputError(
                f"Received {len(dataset.records)} images for training whose masks are all "
                "empty, so there is nothing to learn; check that these are the right masks for "
                "the images."
            )
        for one in without:
            self.report(f"All masks of {one} for {name} are empty.")

    def _report_targets(self, name, dataset, segmenter):
        """Say how many images label each target, and raise for what would learn nothing."""
        counts = labelled_counts(dataset, segmenter.target_set)
        found = [f"{target} {count}" for target, count in counts.items() if count]
        self.report(f"Labelled for {name}: {', '.join(found)}.")
        without = [target for target, count in counts.items() if not count]
        if name == "training":
            new = new_channels(self.config.model, segmenter.target_set)
            lacking = [target for target in without if target in new]
            if lacking:
                raise InputError(
                    f"No image for training labels {', '.join(lacking)}, which the model is given "
                    "to learn; add sources with such masks (of objects that are told apart, images "
                    "of instances), or leave it out of the model."
                )
        if without:
            self.report(f"Not labelled for {name}: {', '.join(without)}.")


def labelled_counts(dataset, targets):
    """Return how many images label each channel.

    Args:
        dataset: `SegmentationDataset`.
        targets: `Targets`.

    Returns:
        dict of names such as `"fundus/vessels"` to int.
    """
    of = np.array([targets.modalities.index(record.modality) for record in dataset.records])
    return {
        f"{modality}/{channel}": int(dataset.labelled[of == row, column].sum())
        for row, modality in enumerate(targets.modalities)
        for column, channel in enumerate(targets.channels(modality))
    }


def new_channels(settings, targets):
    """Return the channels that a configuration gives a model to learn, as in `labelled_counts`.

    Args:
        settings: `ModelSettings`.
        targets: `Targets` of the model.
    """
    names = settings.new_targets if settings.preset else settings.targets or {}
    new = [f"{modality}/{target}" for modality, of in names.items() for target in of]
    told_apart = settings.instances or {}
    return new + [
        f"{modality}/{hidden}"
        for modality in told_apart
        for target, hidden in targets.hidden(modality)
        if target in told_apart[modality]
    ]
