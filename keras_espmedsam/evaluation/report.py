"""The report of an evaluation: what was measured of every image, summarised."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_espmedsam.data.record import Record
from keras_espmedsam.evaluation.paper_metrics import mean_and_std, summarise_paper


def summarise_datasets(
    records: Sequence[Record],
    measured: Mapping[tuple[int, int], Mapping[str, float]],
    paper_metrics: bool = False,
) -> dict[str, dict[str, Any]]:
    """Summarise the measures by data set and split, in the order of the records.

    Args:
        records: all that were to be measured.
        measured: the measures of the images that were, one at least, by the number of the record
            and of the image in its file.
        paper_metrics: whether they are those of `paper_image_measures`.

    Returns:
        The `datasets` of a report; see `evaluate`.

    Example:
        >>> from pathlib import Path
        >>> record = Record("test", "fundus", "drive", Path("1.png"))
        >>> summarise_datasets([record], {(0, 0): {"dice": 0.5}})["drive"]["dice"]
        {'mean': 0.5, 'std': 0.0}

    Source: ours.
    """
    # A set of which nothing could be measured is listed: left out, it would not be missed.
    groups: dict[tuple[str, str], list] = {(one.dataset, one.split): [] for one in records}
    for number, index in sorted(measured):
        record = records[number]
        groups[record.dataset, record.split].append(measured[number, index])
    modalities = {record.dataset: record.modality for record in records}
    summarise = summarise_paper if paper_metrics else _summarise
    summaries = {group: summarise(ones) for group, ones in groups.items() if ones}
    any_summary = next(iter(summaries.values()))
    undefined = {name: dict.fromkeys(figures) for name, figures in any_summary.items()}
    datasets = [dataset for dataset, _ in groups]
    return {
        f"{dataset}/{split}" if datasets.count(dataset) > 1 else dataset: {
            "split": split,
            "modality": modalities[dataset],
            "n": len(ones),
            **summaries.get((dataset, split), undefined),
        }
        for (dataset, split), ones in groups.items()
    }


def image_rows(
    records: Sequence[Record], measured: Mapping[tuple[int, int], Mapping[str, float]]
) -> list[dict[str, Any]]:
    """The measures of every image, in the order of the records.

    Args:
        records, measured: as for `summarise_datasets`.

    Returns:
        The `images` of a report; see `evaluate`.

    Source: ours.
    """
    return [
        {
            "dataset": records[number].dataset,
            "split": records[number].split,
            "modality": records[number].modality,
            "image": str(records[number].image),
            "index": index,
            **measured[number, index],
        }
        for number, index in sorted(measured)
    ]


def _summarise(measures: list[dict[str, float]]) -> dict[str, dict]:
    return {name: _figures(np.array([one[name] for one in measures])) for name in measures[0]}


def _figures(values: np.ndarray) -> dict[str, float | int | None]:
    """Mean and deviation of the values that are numbers, and how many are not, if any."""
    kept = values[np.isfinite(values)]
    dropped = len(values) - len(kept)
    return {**mean_and_std(kept), **({"dropped": dropped} if dropped else {})}
