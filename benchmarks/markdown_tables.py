"""Markdown tables of the reports, and means with their intervals in them."""


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
