"""Training as a configuration says, resumable: what `espmedsam train` does."""

import keras

from keras_espmedsam import losses
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.write_preset import write_preset
from keras_espmedsam.imaging.intensity import AUTO
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
from keras_espmedsam.training.run.run_folder import RunFolder
from keras_espmedsam.training.run.run_record import PRESET, begin_run, hold_run
from keras_espmedsam.training.trainable_parts import select_trainable


def train(config, overrides=(), report=print, verbose="auto", build=build_segmenter):
    """Train a segmenter in phases; after an interruption, call it again to resume.

    Each phase trains in a folder of its own, a `RunFolder`, from the best weights of the one
    before. In the end the best weights of the last phase are written as a preset. With
    `model.add_modality` the preset gets a modality more, which is trained alone.

    Args:
        config: path of a YAML file, dict, or `TrainConfig`.
        overrides: changes such as `"phases.0.epochs=1"`.
        report: called with sentences about what is done.
        verbose: see `keras.Model.fit`.
        build: function of the arguments of `build_segmenter` that makes the segmenter: one of
            your own trains another network on the same images in the same way.

    Returns:
        `pathlib.Path`. The preset's folder.

    Raises:
        InputError: for a configuration or data that cannot be used, or a run that was begun with
            another configuration.

    Source: modality transfer (`add_modality`): ESP-MedSAM (arXiv 2407.14153); ours.
    """
    config = load_settings(TrainConfig, config, overrides)
    for phase in config.phases:  # Arguments that do not fit are told now, and not in that phase.
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
    report(f"{'Going on' if resumed else 'Training'} in {config.output}.")
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
        report(write_preset(_trained(config, model, before, sets, build), preset))
    return preset


def _trained(config, model, run, sets, build):
    """The segmenter of which the preset is made."""
    if model.add_modality is not None:
        # Its sizes, black and white remain the preset's: the other modalities depend on them.
        segmenter = build(model)
        run.load_best(segmenter)
        said = config.data.intensity or sets.said_of_all()
        if said not in (None, segmenter.preprocessor.image_converter.intensity):
            said = said if isinstance(said, str) else f"{said[0]:g}:{said[1]:g}"
            sets.report(
                "What the preset says of black and white remains; segment images of "
                f"{model.add_modality.name} with --intensity {said}."
            )
        return segmenter
    last = config.phases[-1]
    segmenter = build(model, last.image_size, last.resize_mode)
    run.load_best(segmenter)
    take_intensity(segmenter, config.data.intensity or sets.said_of_all())
    return segmenter


def make_run(config, number, devices, monitor, mode):
    """The `RunFolder` of a phase.

    Args:
        config: `RunSettings`.
        number: int. Of the phase, from 0.
        devices: `Devices`.
        monitor, mode: see `RunFolder`.

    Source: ours.
    """
    patience = config.early_stopping.patience if config.early_stopping else None
    folder = config.phase_folders()[number]
    return RunFolder(folder, monitor, mode, patience, config.tensorboard, devices.is_main)


def fit(run, devices, model, training, validation, epochs, verbose):
    """Train a compiled model in its `RunFolder` on all devices.

    Source: ours.
    """
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
    """The sentence with which a run ends.

    Args:
        preset: path of the preset's folder.

    Source: ours.
    """
    return f"Measure it with: espmedsam evaluate --preset {preset} --data INDEX.csv --split test"


def _say_nothing(sentence):
    """What all processes but the first report."""


def _compile(segmenter, phase, steps, precision):
    if (phase.parts, phase.modalities) != ("all", "all"):
        select_trainable(segmenter, phase.parts, phase.modalities)
    rate = make_learning_rate(phase.learning_rate, phase.epochs, steps)
    segmenter.compile(
        optimizer=make_optimizer(phase.optimizer, rate, segmenter, precision),
        loss=losses.get(phase.loss),
    )


class _Sets:
    """The data sets of each phase; what was left out of them is told once."""

    def __init__(self, config, report):
        self.config = config
        self.report = report
        self.records = None
        self.told = set()

    def said_of_all(self):
        """What is black and white of all training images, where the same is said of each."""
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
        if added is not None:  # It is trained in the way of the preset, which is not told again.
            native = converter.image_size is None
        size = phase.image_size or converter.image_size
        if size is None:
            raise InputError(
                "The configuration gives a phase no image_size, and its model none either; give "
                "the size of the canvas that images are drawn on."
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
        )
        converter.intensity = AUTO  # what the data sets give is brightness
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
            ),
            layers=make_layers(config.keras_augmentation),
            **options,
        )
        validation = SegmentationDataset(
            self.records["val"], image_size=None if native else size, **options
        )
        for name, dataset in (("training", training), ("validation", validation)):
            self._tell(name, dataset)
        return training, validation

    def _tell(self, name, dataset):
        if name in self.told:
            return
        self.told.add(name)
        self.report(f"{len(dataset.records)} images for {name}.")
        if dataset.left_out:
            self.report(f"{len(dataset.left_out)} left out of {name}:")
            for _, reason in dataset.left_out:
                self.report(f"  {reason}")
        for notice, count in dataset.notices.items():
            self.report(f"Of {count} images for {name}: {notice}.")
        # A data set of which nothing can be learnt but to find nothing.
        found: dict[str, list[bool | None]] = {}
        for record, blank in zip(dataset.records, dataset.blank, strict=True):
            found.setdefault(record.dataset, []).append(blank)
        without = [dataset for dataset, blank in found.items() if all(blank)]
        if name == "training" and len(without) == len(found):
            raise InputError(
                f"Received {len(dataset.records)} images for training whose masks are all "
                "empty, so that there is nothing to learn; look at the masks, and whether they "
                "are those of the images."
            )
        for one in without:
            self.report(f"All masks of {one} for {name} are empty.")
