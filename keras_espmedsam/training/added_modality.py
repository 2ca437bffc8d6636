"""Adding a modality to a preset and training it, resumable: `espmedsam add-modality`."""

import dataclasses

import keras

from keras_espmedsam.data import read_index
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.write_preset import write_preset
from keras_espmedsam.imaging.intensity import AUTO
from keras_espmedsam.models import ESPMedSAMImageSegmenter
from keras_espmedsam.training.build_segmenter import fixed_size, load_preset
from keras_espmedsam.training.config.added_modality_config import AddedModalityConfig
from keras_espmedsam.training.config.run_config import LearningRateSettings, OptimizerSettings
from keras_espmedsam.training.config.settings import load_settings
from keras_espmedsam.training.data.augmentation import Augmentation
from keras_espmedsam.training.data.medical_ranges import MEDICAL_RANGES
from keras_espmedsam.training.data.segmentation_dataset import SegmentationDataset
from keras_espmedsam.training.make_optimizer import make_learning_rate, make_optimizer
from keras_espmedsam.training.run.run_folder import RunFolder
from keras_espmedsam.training.run.run_record import PRESET, begin_run, hold_run

# What a run takes to reach its learning rate, in steps, and how far the rate falls afterwards.
_WARMUP, _FALL = 10, 0.01
_OPTIMIZER = OptimizerSettings(name="adamw", weight_decay=0.05, global_clipnorm=1.0)


def train_added_modality(config, report=print, verbose="auto"):
    """Add a modality to a preset and train it alone; called again, go on where it was.

    In the end the epoch with the best validation Dice is written as a preset of all modalities.

    Args:
        config: dict or `AddedModalityConfig`.
        report: called with sentences about what is done.
        verbose: see `keras.Model.fit`.

    Returns:
        `pathlib.Path`. The preset's folder, `preset` in the folder of the run.

    Raises:
        InputError: for a modality, a preset or data that cannot be used, or a run that was begun
            with other settings.

    Source: modality transfer: ESP-MedSAM (arXiv 2407.14153).
    """
    config = load_settings(AddedModalityConfig, config)
    with hold_run(config):
        return _train(config, report, verbose)


def _train(config, report, verbose):
    preset = config.output / PRESET
    if preset.exists():
        begin_run(config)  # The same run, and no other whose preset happens to be there.
        report(f"The run in {config.output} is done.")
        return preset
    # All that can be wrong, before anything is written into the folder.
    records = [_records(config, splits) for splits in (config.train_splits, config.val_splits)]
    keras.utils.set_random_seed(config.seed)
    segmenter = _extended(config)
    training, validation = _datasets(config, segmenter, *records, report)
    schedule = LearningRateSettings(
        rate=config.learning_rate,
        schedule="cosine",
        warmup_steps=min(_WARMUP, config.epochs * config.steps - 1),
        final_rate=_FALL * config.learning_rate,
    )
    rate = make_learning_rate(schedule, config.epochs, config.steps)
    segmenter.compile(optimizer=make_optimizer(_OPTIMIZER, rate, segmenter))
    resumed = begin_run(config)
    report(f"{'Going on' if resumed else 'Training'} in {config.output}.")
    run = RunFolder(config.output, "val_masks_dice", "max", config.early_stopping.patience)
    run.fit(segmenter, training, validation_data=validation, epochs=config.epochs, verbose=verbose)
    report(f"{config.name}: {run.said_best()}")
    # A new one, whose converter is the preset's own whatever the size trained at.
    segmenter = _extended(config)
    run.load_best(segmenter)
    report(write_preset(segmenter, preset))
    return preset


def _records(config, splits):
    """The index's records, whatever modality it gives them, as the new one's."""
    records = read_index(config.index, splits, labelled=False)
    for record in records:
        if record.mask is None:
            raise InputError(
                f"The index {config.index} gives the image {record.image} of the split "
                f"{record.split} no mask; a new modality is learnt from images with masks."
            )
    return [dataclasses.replace(record, modality=config.name) for record in records]


def _extended(config):
    segmenter = load_preset(ESPMedSAMImageSegmenter, config.preset)
    return segmenter.add_modality(config.name, init_from=config.init_from)


def _datasets(config, segmenter, training, validation, report):
    converter = segmenter.preprocessor.image_converter
    size = config.image_size and (config.image_size, config.image_size)
    native = converter.image_size is None
    if native and size is None:
        raise InputError(
            f"The preset {config.preset} takes images at their own size; give the size of the "
            "canvas on which they are drawn for training."
        )
    fixed = fixed_size(segmenter)
    if size is not None and fixed not in (None, size):
        raise InputError(
            f"Received the size {config.image_size} for the preset {config.preset}, whose encoder "
            f"takes images of {fixed[0]} x {fixed[1]} alone; leave the size out."
        )
    if not native and size is not None:
        converter.image_size = size
    options = dict(
        modalities=segmenter.modalities,
        batch_size=config.batch_size,
        resize_mode="native" if native else converter.resize_mode,
        strict=config.strict,
        seed=config.seed,
        intensity=converter.intensity,
    )
    converter.intensity = AUTO  # what the data sets give is brightness
    augmentation = MEDICAL_RANGES.get(config.init_from, Augmentation())
    canvas = size or converter.image_size
    sets = {
        "training": SegmentationDataset(
            training,
            image_size=canvas,
            steps=config.steps,
            augment={config.name: augmentation},
            **options,
        ),
        "validation": SegmentationDataset(
            validation, image_size=None if native else canvas, **options
        ),
    }
    for name, dataset in sets.items():
        report(f"{len(dataset.records)} images for {name}.")
        if dataset.left_out:
            report(f"{len(dataset.left_out)} left out of {name}:")
            for _, reason in dataset.left_out:
                report(f"  {reason}")
        for notice, count in dataset.notices.items():
            report(f"Of {count} images for {name}: {notice}.")
    return sets.values()
