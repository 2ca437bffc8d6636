"""A table of how much of the images each target covers."""

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
        """Add an image's masks; those of a modality's only target without objects are left out."""
        if len(result.known_targets) < 2 and not result.instances:
            return
        for name, mask in result.masks.items():
            row = self.rows.setdefault((result.modality or "", name), _Row())
            row.images += 1
            row.share += float(mask.mean())
            if name in result.instances:
                row.objects = (row.objects or 0) + int(result.instances[name].max(initial=0))

    def print(self, console: Console) -> None:
        """Print the table, if there is anything in it."""
        if not self.rows:
            return
        table = Table(box=box.SIMPLE_HEAD)
        for title in ("modality", "target"):
            table.add_column(title, no_wrap=True)
        counted = any(row.objects is not None for row in self.rows.values())
        for title in ("images", "mean area", *(["objects"] if counted else [])):
            table.add_column(title, justify="right", no_wrap=True)
        for (modality, target), row in self.rows.items():
            objects = ["" if row.objects is None else str(row.objects)] if counted else []
            share = f"{row.share / row.images:.1%}"
            table.add_row(modality, target, str(row.images), share, *objects)
        console.print(table)
