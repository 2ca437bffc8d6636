"""The metrics of subgroups of the images, such as hospitals or benign and malignant lesions."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_espmedsam.evaluation.paper_metrics import summarise_paper
from keras_espmedsam.evaluation.report import NOT_METRICS, row_name, summarise_images


def summarise_subgroups(
    images: Sequence[Mapping[str, Any]],
    datasets: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, str],
    paper_metrics: bool = False,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Summarise the metrics of the images that share a value, within each data set and target.

    Args:
        images: the `images` of a report of `evaluate`.
        datasets: its `datasets`.
        values: the value of each image by its path as in `images`, such as from `read_column`; an
            image without one, or with an empty one, is in the subgroup `""`.
        paper_metrics: whether the report has the paper's metrics.

    Returns:
        `{NAME: {VALUE: {"n", METRIC: {"mean", "std"}, ...}}}`, values in alphabetical order; names
        are those of `datasets`, without those in which no image has a value.

    Example:
        >>> datasets = {"busi": {"split": "test", "n": 3, "dice": {"mean": 0.8, "std": 0.1}}}
        >>> images = [{"dataset": "busi", "split": "test", "image": name, "index": 0, "dice": value}
        ...           for name, value in (("1.png", 0.5), ("2.png", 0.75), ("3.png", 1.0))]
        >>> kinds = {"1.png": "malignant", "2.png": "benign", "3.png": "benign"}
        >>> for value, row in summarise_subgroups(images, datasets, kinds)["busi"].items():
        ...     print(value, row["n"], row["dice"]["mean"])
        benign 2 0.875
        malignant 1 0.5
    """
    groups: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in images:
        name = row_name(datasets, row["dataset"], row["split"], row.get("target", ""))
        groups.setdefault(name, {}).setdefault(values.get(row["image"], ""), []).append(row)
    groups = {name: own for name, own in groups.items() if set(own) != {""}}
    metrics = [name for name in next(iter(datasets.values())) if name not in NOT_METRICS]
    summarise = summarise_paper if paper_metrics else summarise_images
    return {
        name: {
            value: {
                "n": len(rows),
                **summarise([{key: row[key] for key in metrics if key in row} for row in rows]),
            }
            for value, rows in sorted(own.items())
        }
        for name, own in groups.items()
    }
