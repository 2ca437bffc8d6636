"""Print a report of `espmedsam evaluate` as tables."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_espmedsam._shown import shown
from keras_espmedsam.cli.console import stdout
from keras_espmedsam.evaluation.report import NOT_METRICS, is_named, mean_or_none

_TITLES = {"iou": "IoU", "hd95": "HD95", "f1": "F1", "nsd": "NSD", "cldice": "clDice"}
_OBJECT_TITLES = {
    **{"count_error": "error", "ap": "AP", "ap50": "AP50", "ap75": "AP75"},
    **{"pq": "PQ", "sq": "SQ", "rq": "RQ", "aji": "AJI", "dsb": "DSB"},
}
_POOLED = ("ap", "ap50", "ap75")
# On the terminal, of each data set; the report has all.
_MOST_SUBGROUPS = 30


def print_report(
    report: dict[str, Any], console: Console | None = None, show_worst: bool = False
) -> None:
    """Print a report as a table, with the means over the data sets, or targets, and modalities.

    Args:
        report: the result of `keras_espmedsam.evaluation.evaluate`.
        console: the console to print on; stdout by default.
        show_worst: whether the worst images are printed, too.
    """
    datasets = report["datasets"]
    measures = [name for name in next(iter(datasets.values())) if name not in NOT_METRICS]
    mirrored = ", averaged with the mirrored images" if report.get("mirror") else ""
    scales = report.get("scales")
    scaled = f", at scales {', '.join(f'{one:g}' for one in scales)}" if scales else ""
    precision = f" in {report['precision']}" if "precision" in report else ""
    title = f"{report['preset']} on {report['backend']}{precision}{mirrored}{scaled}"
    named = ("target",) if is_named(datasets) else ()
    table = _table(
        title,
        ("data set", "split", "modality", *named),
        ("n", *(_TITLES.get(name, name.capitalize()) for name in measures)),
    )
    for name, row in datasets.items():
        cells = [_cell(measure, row[measure]) for measure in measures]
        table.add_row(*_places(name, row, "split", "modality", *named), str(row["n"]), *cells)
    table.add_section()
    for cells in _means(report, measures, named):
        table.add_row(*cells)
    console = console or stdout()
    console.print(table)
    if "instances" in report:
        console.print(_objects(report["instances"], named))
    for column, groups in report.get("subgroups", {}).items():
        console.print(_subgroups(column, groups, report, measures, named))
    if show_worst:
        console.print(_worst(report, named))


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title)
    for one in left:
        table.add_column(one, no_wrap=True)
    for one in right:
        table.add_column(one, justify="right", no_wrap=True)
    return table


def _places(name, row, *columns):
    """Return the cells that say which row it is."""
    target = row.get("target")
    return (name.removesuffix(f":{target}"), *(row[column] for column in columns))


def _means(report, measures, named):
    """Yield the rows of each split's means over targets, or data sets, and over modalities."""
    datasets = report["datasets"].values()
    of = "mean of targets" if named else "mean of sets"
    for split, modalities in report.get("means", {}).items():
        rows = [row for row in datasets if row["split"] == split]
        for modality, means in modalities.items():
            own = [row for row in rows if row["modality"] == modality]
            if len(own) > 1:
                cells = [_mean_cell(m, [means[m]]) for m in measures]
                yield of, split, modality, *_counts(own, named), *cells
        if len(modalities) > 1:
            cells = [_mean_cell(m, [one[m] for one in modalities.values()]) for m in measures]
            yield "mean of modalities", split, "", *_counts(rows, named), *cells


def _counts(rows, named):
    """Return the cells of target and n; an image with several targets would count twice."""
    return ("", "") if named else (str(sum(row["n"] for row in rows)),)


def _objects(instances, named):
    """Return the table of objects, each metric as its field reports it."""
    table = _table(
        "Objects: AP of all images together, the rest as means over images",
        ("data set", "split", *named),
        ("n", "true", "found", *_OBJECT_TITLES.values()),
    )
    for name, row in instances.items():
        counts = (row["n"], row["true_objects"]["pooled"], row["predicted_objects"]["pooled"])
        cells = [
            _cell(metric, {"mean": row[metric]["pooled" if metric in _POOLED else "mean"]})
            for metric in _OBJECT_TITLES
        ]
        table.add_row(*_places(name, row, "split", *named), *map(str, counts), *cells)
    return table


def _subgroups(column, groups, report, measures, named):
    """Return the table of the values of a column of the index."""
    titles = [_TITLES.get(name, name.capitalize()) for name in measures]
    table = _table(f"By {column}", ("data set", "split", *named, shown(column)), ("n", *titles))
    for name, values in groups.items():
        places = _places(name, report["datasets"][name], "split", *named)
        for value, row in list(values.items())[:_MOST_SUBGROUPS]:
            cells = [_cell(measure, row[measure]) for measure in measures]
            table.add_row(*places, shown(value) or "-", str(row["n"]), *cells)
        if len(values) > _MOST_SUBGROUPS:
            table.add_row(*places, f"and {len(values) - _MOST_SUBGROUPS} more")
    return table


def _worst(report, named):
    """Return the table of the worst images of each data set."""
    listed = [one for ones in report["worst"].values() for one in ones]
    metric = next(
        (name for one in listed for name in one if name not in ("image", "index")), "dice"
    )
    title = _TITLES.get(metric, metric.capitalize())
    table = _table("Worst images", ("data set", "split", *named), (title,))
    table.add_column("image", overflow="fold")
    for name, ones in report["worst"].items():
        for one in ones:
            places = _places(name, report["datasets"][name], "split", *named)
            image = shown(one["image"], 200) + (f" [{one['index']}]" if one["index"] else "")
            table.add_row(*places, _cell(metric, {"mean": one[metric]}), escape(image))
    return table


def _mean_cell(measure, values):
    return _cell(measure, {"mean": mean_or_none(values)})


def _cell(measure, value):
    if value["mean"] is None:
        return "-"
    digits = 1 if measure in ("hd95", "hausdorff", "count_error") else 3
    text = f"{value['mean']:.{digits}f}"
    return text if value.get("std") is None else f"{text} ±{value['std']:.{digits}f}"
