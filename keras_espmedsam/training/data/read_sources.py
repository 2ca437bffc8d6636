"""Read the records of all sources in a configuration."""

import dataclasses

from keras_espmedsam._shown import shown
from keras_espmedsam.data import read_folder, read_index, read_splits, split_by_group
from keras_espmedsam.errors import InputError, did_you_mean


def read_sources(settings, labelled=True, modality=None):
    """Read the records of all sources.

    Args:
        settings: `DataSettings`.
        labelled: bool. False if masks and modalities are not needed.
        modality: str or None. The modality of all records, overriding the sources.

    Returns:
        dict of `train` and `val`, lists of `Record`.

    Raises:
        InputError: if a source cannot be read, a requested split or excluded data set is in none
            of them, or an image of `modality` has no mask.
    """
    records = [
        _with_intensity(record, source.intensity or settings.intensity)
        for source in settings.sources
        for record in (_read(source, labelled) if modality is None else _read_as(source, modality))
    ]
    records = _without(records, settings.exclude_datasets)
    if settings.split_fractions is not None:
        records = split_by_group(records, settings.split_fractions)
    found = dict.fromkeys(record.split for record in records)
    chosen = {}
    for key, splits in (("train", settings.train_splits), ("val", settings.val_splits)):
        for split in splits:
            if split not in found:
                raise InputError(
                    f"The sources have no split {split!r}, which {key}_splits names; they have "
                    f"{', '.join(found)}. Choose from these, or give split_fractions."
                )
        chosen[key] = [record for record in records if record.split in splits]
    for record in (*chosen["train"], *chosen["val"]):
        if modality is not None and record.mask is None:
            raise InputError(
                f"The image {record.image} of the split {record.split} has no mask; a new modality "
                "is learnt from images with masks."
            )
    both = set(settings.train_splits) & set(settings.val_splits)
    if both:
        raise InputError(
            f"The split {', '.join(sorted(both))} is in train_splits and in val_splits; validate "
            "on images that are not trained on."
        )
    return chosen


def _without(records, datasets):
    """Return the records of other data sets than these."""
    names = list(dict.fromkeys(record.dataset for record in records))
    for name in datasets:
        if name not in names:
            raise InputError(
                f"The sources have no data set {shown(name)}, which exclude_datasets names; they "
                f"have {', '.join(map(shown, names))}{did_you_mean(name, names)}"
            )
    return [record for record in records if record.dataset not in datasets]


def _with_intensity(record, intensity):
    """Apply a source's intensity to a record unless its index gives one."""
    if intensity is None or record.intensity is not None:
        return record
    return dataclasses.replace(record, intensity=intensity)


def _read_as(source, modality):
    """Return a source whose records all have one modality, which its files need not name."""
    source = source.model_copy(update={"modality": modality})
    records = _read(source, labelled=source.index is None, masks=True)
    return [dataclasses.replace(record, modality=modality) for record in records]


def _read(source, labelled, masks=False):
    names = ("targets", "target", "labels") if labelled or masks else ()
    targets = {name: getattr(source, name) for name in names}
    if source.index is not None:
        records = read_index(source.index, datasets=source.datasets, labelled=labelled, **targets)
        if not source.modality:
            return records
        return [dataclasses.replace(record, modality=source.modality) for record in records]
    if source.splits is not None:
        return read_splits(
            source.splits,
            source.modality,
            folder=source.folder,
            images=source.images,
            masks=source.masks,
            dataset=source.dataset,
            **targets,
        )
    return read_folder(
        source.folder,
        source.modality,
        masks=source.masks,
        dataset=source.dataset,
        split=source.split or "train",
        group=source.group,
        labelled=labelled,
        merge_masks=source.merge_masks,
        instances=source.instances if labelled else None,
        **targets,
    )
