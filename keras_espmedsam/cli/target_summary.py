"""A table of how much of the images each target covers, and of the predicted quality."""

import dataclasses

from rich import box
from rich.console import Console
from rich.table import Table

from keras_espmedsam.inference import FileResult


@dataclasses.dataclass
class _Row:
    images: int = 0
    share: float = 0.0
    objects: int | None = None
    quality: float | None = None


class TargetSummary:
    """Sums up the masks of each modality and target.

    Example:
        >>> from pathlib import Path
        >>> summary = TargetSummary()
        >>> mask = np.array([[[True, False], [True, True]]])
        >>> summary.add(FileResult(Path("x.png"), mask=mask, modality="xray",
        ...                        targets=("lungs", "heart"), known_targets=("lungs", "heart")))
        >>> summary.rows["xray", "heart"].share
        0.5
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], _Row] = {}

    def add(self, result: FileResult) -> None:
        """Add an image's masks; leave out those of an only target without objects and quality."""
        if len(result.known_targets) < 2 and not result.instances and not result.quality:
            return
        for name, mask in result.masks.items():
            row = self.rows.setdefault((result.modality or "", name), _Row())
            row.images += 1
            row.share += float(mask.mean())
            if name in result.instances:
                row.objects = (row.objects or 0) + int(result.instances[name].max(initial=0))
            if name in result.quality:
                row.quality = (row.quality or 0) + result.quality[name]

    def print(self, console: Console) -> None:
        """Print the table, if there is anything in it."""
        if not self.rows:
            return
        table = Table(box=box.SIMPLE_HEAD)
        for title in ("modality", "target"):
            table.add_column(title, no_wrap=True)
        counted = any(row.objects is not None for row in self.rows.values())
        predicted = any(row.quality is not None for row in self.rows.values())
        further = [*(["objects"] if counted else []), *(["mean quality"] if predicted else [])]
        for title in ("images", "mean area", *further):
            table.add_column(title, justify="right", no_wrap=True)
        for (modality, target), row in self.rows.items():
            objects = ["" if row.objects is None else str(row.objects)] if counted else []
            share = f"{row.share / row.images:.1%}"
            quality = "" if row.quality is None else f"{row.quality / row.images:.2f}"
            cells = [*objects, *([quality] if predicted else [])]
            table.add_row(modality, target, str(row.images), share, *cells)
        console.print(table)
