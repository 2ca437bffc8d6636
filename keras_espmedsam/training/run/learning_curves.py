"""Write learning curves as a table and an image, from the whole history."""

import csv
import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from keras_espmedsam._files import atomic_path
from keras_espmedsam._shown import cell


def write_curves(folder: Path, history: Mapping[str, Sequence[float | None]]) -> None:
    """Write `curves.csv` and, if matplotlib is installed, `curves.png`.

    Args:
        folder: `pathlib.Path`.
        history: dict of name to list of numbers, one per epoch; `None` if there was none.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> write_curves(folder, {"loss": [2.0, 1.0], "val_loss": [2.5, 1.5]})
        >>> (folder / "curves.csv").read_text().splitlines()
        ['epoch,loss,val_loss', '1,2.0,2.5', '2,1.0,1.5']
    """
    names = list(history)
    epochs = len(next(iter(history.values()), []))
    with (
        atomic_path(folder / "curves.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["epoch", *map(cell, names)])
        for row in range(epochs):
            writer.writerow([row + 1, *(history[name][row] for name in names)])
    _draw(folder / "curves.png", history, range(1, epochs + 1))


@functools.cache
def _say_that_matplotlib_is_missing():
    logging.getLogger(__name__).warning(
        "The learning curves are written only as CSV, since matplotlib is not installed; install "
        'it with: pip install "keras-espmedsam[train]"'
    )


def _draw(path, history, epochs):
    try:
        # Without pyplot, which would look for a display and keep every figure.
        from matplotlib.figure import Figure
    except ImportError:
        _say_that_matplotlib_is_missing()
        return
    # One panel per train/val pair, so that each has its own scale.
    panels = [name for name in history if not name.startswith("val_")]
    panels += [n for n in history if n.startswith("val_") and n.removeprefix("val_") not in panels]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4 * columns, 3 * rows), layout="constrained")
    for place, name in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, place)
        for label, values in ((name, history.get(name)), ("val", history.get(f"val_{name}"))):
            if values is not None:
                numbers = [float("nan") if value is None else value for value in values]
                axes.plot(epochs, numbers, marker=".", label="train" if label == name else label)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        axes.tick_params(labelsize=8)
        if f"val_{name}" in history:
            axes.legend(fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
