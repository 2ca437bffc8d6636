"""Reports: Markdown tables, means with their intervals, and the files of a page and its figures."""

import json

from keras_espmedsam.data import atomic_path


def table(header, rows):
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def cell(found, digits=3):
    """A mean with its interval."""
    return "{:.{d}f} [{:.{d}f}, {:.{d}f}]".format(*found, d=digits)


def cell_of(means, key, digits=3):
    """A set's mean with its interval; empty where the measure is undefined for all images."""
    return cell(means.of_set(*key), digits) if key in means.sets else ""


def write_page(path, text, figures):
    """Write a report, and beside it what it shows as JSON.

    Args:
        path: path of the page.
        text: str. The page.
        figures: what `json` can write.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    with atomic_path(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
