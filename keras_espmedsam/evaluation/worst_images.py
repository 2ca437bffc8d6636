"""The images of each data set on which a segmenter is worst, by name."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from keras_espmedsam.evaluation.report import NOT_METRICS, row_name

DEFAULT_COUNT = 5
"""How many images of each data set a report of the command lists."""
_DISTANCES = ("hd95", "hausdorff")


def worst_images(
    images: Sequence[Mapping[str, Any]],
    datasets: Mapping[str, Mapping[str, Any]],
    count: int = DEFAULT_COUNT,
) -> dict[str, list[dict[str, Any]]]:
    """List the worst images of each data set and target, by Dice if it was measured.

    Without Dice, the report's first metric counts: its lowest values, or the highest ones of a
    distance. Images for which it is undefined are left out.

    Args:
        images: the `images` of a report of `evaluate`.
        datasets: its `datasets`.
        count: how many images of each.

    Returns:
        `{NAME: [{"image", "index", METRIC: value}, ...]}`, the worst first; names are those of
        `datasets`.

    Example:
        >>> datasets = {"drive": {"split": "test", "n": 3, "dice": {"mean": 0.7, "std": 0.1}}}
        >>> images = [{"dataset": "drive", "split": "test", "image": name, "index": 0, "dice": dice}
        ...           for name, dice in (("1.png", 0.8), ("2.png", 0.5), ("3.png", 0.8))]
        >>> worst_images(images, datasets, count=1)
        {'drive': [{'image': '2.png', 'index': 0, 'dice': 0.5}]}
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in datasets}
    metrics = [name for name in next(iter(datasets.values())) if name not in NOT_METRICS]
    metric = "dice" if "dice" in metrics else metrics[0]
    for row in images:
        value = row[metric]
        if value is not None and math.isfinite(value):
            name = row_name(datasets, row["dataset"], row["split"], row.get("target", ""))
            found[name].append({"image": row["image"], "index": row["index"], metric: value})
    sign = -1 if metric in _DISTANCES else 1
    return {
        name: sorted(ones, key=lambda one: sign * one[metric])[:count]
        for name, ones in found.items()
    }
