"""Summarise the metrics of all images in a report."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_espmedsam.data.record import Record
from keras_espmedsam.evaluation.instance_metrics import INSTANCE_METRICS, summarise_instances
from keras_espmedsam.evaluation.measured_targets import MeasuredTargets
from keras_espmedsam.evaluation.paper_metrics import summarise_paper
from keras_espmedsam.evaluation.summary import mean_and_std
from keras_espmedsam.evaluation.target_measures import TargetMeasures

Measured = Mapping[tuple[int, int], Sequence[TargetMeasures]]
"""The metrics of each measured image, by the number of its record and its own in the file."""
NOT_METRICS = ("split", "modality", "target", "n")
"""What a row of a report's `datasets` or `instances` holds beside the metrics."""


def summarise_datasets(
    records: Sequence[Record],
    measured: Measured,
    paper_metrics: bool = False,
    targets: MeasuredTargets | None = None,
) -> dict[str, dict[str, Any]]:
    """Summarise the metrics by data set, split and target, in the order of the records.

    Args:
        records: all records of the evaluation.
        measured: the metrics of the measured images, at least one.
        paper_metrics: whether the metrics are those of `paper_image_measures`.
        targets: names the targets; None if the report does not name them.

    Returns:
        The `datasets` of a report; see `evaluate`.

    Example:
        >>> from pathlib import Path
        >>> record = Record("test", "fundus", "drive", Path("1.png"), Path("1_mask.png"))
        >>> summarise_datasets([record], {(0, 0): [TargetMeasures("", {"dice": 0.5})]})["drive"]
        {'split': 'test', 'modality': 'fundus', 'n': 1, 'dice': {'mean': 0.5, 'std': 0.0}}
    """
    groups = _grouped(records, measured, targets, lambda one: one.values)
    return _rows(records, groups, summarise_paper if paper_metrics else summarise_images)


def summarise_objects(
    records: Sequence[Record], measured: Measured, targets: MeasuredTargets | None = None
) -> dict[str, dict[str, Any]]:
    """Summarise the metrics of objects, for the data sets and targets that tell them apart.

    Args:
        records, measured, targets: as for `summarise_datasets`.

    Returns:
        The `instances` of a report; see `evaluate`. Empty if there are none.
    """
    groups = _grouped(records, measured, targets, lambda one: one.objects)
    found = {name for name, ones in groups.items() if ones}
    rows = _rows(records, groups, summarise_instances) if found else {}
    return {name: row for name, row in rows.items() if row["n"]}


def modality_means(datasets: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Compute the mean of each modality over its targets, or its data sets.

    A target's mean is that over its data sets, so that each target counts once, whatever the
    number of data sets and images that label it. So does each data set, whatever the number of its
    images.

    Args:
        datasets: as `summarise_datasets` returns it.

    Returns:
        `{SPLIT: {MODALITY: {"targets": [NAME, ...], METRIC: value or None}}}`; without names of
        targets, in place of them `"datasets"`, the names of the rows.

    Example:
        >>> def row(target, value):
        ...     return {"split": "test", "modality": "eye", "target": target, "n": 1,
        ...             "dice": {"mean": value, "std": 0.0}}
        >>> rows = [row("vessels", 0.5), row("vessels", 0.7), row("disc", 1.0)]
        >>> modality_means(dict(enumerate(rows)))
        {'test': {'eye': {'targets': ['vessels', 'disc'], 'dice': 0.8}}}
    """
    named = is_named(datasets)
    found: dict[str, dict[str, dict[str, list]]] = {}
    for name, row in datasets.items():
        own = found.setdefault(row["split"], {}).setdefault(row["modality"], {})
        own.setdefault(row["target"] if named else name, []).append(row)
    key = "targets" if named else "datasets"
    return {
        split: {
            modality: {key: list(own), **_mean_of_means(list(own.values()))}
            for modality, own in modalities.items()
        }
        for split, modalities in found.items()
    }


def is_named(datasets: Mapping[Any, Mapping[str, Any]]) -> bool:
    """Return whether the rows of a report name their targets.

    Args:
        datasets: as `summarise_datasets` returns it.

    Example:
        >>> is_named({"drive": {"split": "test", "target": "vessels"}})
        True
    """
    return any("target" in row for row in datasets.values())


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """Return the mean of values, or None if one of them is.

    Args:
        values: at least one.

    Example:
        >>> mean_or_none([1.0, 2.0]), mean_or_none([1.0, None])
        (1.5, None)
    """
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def summarise_images(measures: Sequence[Mapping[str, float]]) -> dict[str, dict]:
    """Compute mean and standard deviation of each metric, and count undefined values (NaN).

    Args:
        measures: the metrics of each image, at least one.

    Example:
        >>> summarise_images([{"dice": 0.5}, {"dice": 1.0}])
        {'dice': {'mean': 0.75, 'std': 0.25}}
    """
    return {name: _figures(np.array([one[name] for one in measures])) for name in measures[0]}


def row_name(
    datasets: Mapping[str, Mapping[str, Any]], dataset: str, split: str, target: str = ""
) -> str:
    """Return the name of the row of a report that an image belongs to.

    Args:
        datasets: as `summarise_datasets` returns it.
        dataset, split, target: those of the image.

    Raises:
        KeyError: when there is no such row.

    Example:
        >>> datasets = {"drive/val": {"split": "val"}, "drive/test": {"split": "test"}}
        >>> row_name(datasets, "drive", "test")
        'drive/test'
    """
    names = (dataset, f"{dataset}/{split}", f"{dataset}:{target}", f"{dataset}/{split}:{target}")
    for name in names:
        row = datasets.get(name, {})
        if (row.get("split"), row.get("target", "")) == (split, target):
            return name
    raise KeyError((dataset, split, target))


def image_rows(records: Sequence[Record], measured: Measured) -> list[dict[str, Any]]:
    """List the metrics of every image and target, in the order of the records.

    Args:
        records, measured: as for `summarise_datasets`.

    Returns:
        The `images` of a report; see `evaluate`.
    """
    with_objects = any(one.objects is not None for ones in measured.values() for one in ones)
    # All rows have the same columns, as the rows of a table.
    objects = dict.fromkeys(INSTANCE_METRICS) if with_objects else {}
    return [
        {
            "dataset": records[number].dataset,
            "split": records[number].split,
            "modality": records[number].modality,
            **({"target": one.target} if one.target else {}),
            "image": str(records[number].image),
            "index": index,
            **one.values,
            **objects,
            **one.all_values,
        }
        for number, index in sorted(measured)
        for one in measured[number, index]
    ]


def _grouped(
    records: Sequence[Record],
    measured: Measured,
    targets: MeasuredTargets | None,
    value: Callable[[TargetMeasures], Any],
) -> dict[tuple[str, str, str], list]:
    """Return a value of each measured target, by data set, split and target."""
    # A data set without a measured image is listed too, so that it is noticed.
    labelled: dict[tuple[str, str], dict[str, int]] = {}
    for record in records:
        own = labelled.setdefault((record.dataset, record.split), {})
        if targets is None:
            own[""] = 0
            continue
        for mask in record.target_masks:
            at = (record.modality, mask.target)
            own[targets.label(*at)] = targets.channel(*at)
    groups: dict[tuple[str, str, str], list] = {
        (*group, name): []
        for group, own in labelled.items()
        # In the model's order, whatever the first image has.
        for name in sorted(own, key=own.__getitem__)
    }
    for number, index in sorted(measured):
        record = records[number]
        for one in measured[number, index]:
            if value(one) is not None:
                groups[record.dataset, record.split, one.target].append(value(one))
    return groups


def _rows(
    records: Sequence[Record],
    groups: Mapping[tuple[str, str, str], list],
    summarise: Callable[[list], dict[str, dict]],
) -> dict[str, dict[str, Any]]:
    modalities = {record.dataset: record.modality for record in records}
    summaries = {group: summarise(ones) for group, ones in groups.items() if ones}
    any_summary = next(iter(summaries.values()))
    undefined = {name: dict.fromkeys(figures) for name, figures in any_summary.items()}
    splits = {group[:2] for group in groups}
    several_splits = [dataset for dataset, _ in splits]
    several_targets = [group[:2] for group in groups]
    rows = {}
    for (dataset, split, target), ones in groups.items():
        name = f"{dataset}/{split}" if several_splits.count(dataset) > 1 else dataset
        if several_targets.count((dataset, split)) > 1:
            name = f"{name}:{target}"
        rows[name] = {
            "split": split,
            "modality": modalities[dataset],
            **({"target": target} if target else {}),
            "n": len(ones),
            **summaries.get((dataset, split, target), undefined),
        }
    return rows


def _mean_of_means(groups: list[list[dict[str, Any]]]) -> dict[str, float | None]:
    """Return the mean over groups of rows of the mean over the rows of each."""
    metrics = [name for name in groups[0][0] if name not in NOT_METRICS]
    return {
        metric: mean_or_none(
            [mean_or_none([row[metric]["mean"] for row in rows]) for rows in groups]
        )
        for metric in metrics
    }


def _figures(values: np.ndarray) -> dict[str, float | int | None]:
    """Compute mean and deviation of the finite values, and count the others, if any."""
    kept = values[np.isfinite(values)]
    dropped = len(values) - len(kept)
    return {**mean_and_std(kept), **({"dropped": dropped} if dropped else {})}
