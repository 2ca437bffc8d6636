"""What `segment --min-quality` and `--only-in-scope` set aside, and the table of `--report`."""

import csv
import io
from pathlib import Path
from typing import Any

from keras_espmedsam._files import atomic_path, check_writable
from keras_espmedsam._shown import cell
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference import FileResult
from keras_espmedsam.inference.quality import check_min_quality

SET_ASIDE = "set_aside"
"""The folder, in that of the results, of those that are set aside."""

_COLUMNS = (
    "file",
    "image",
    "modality",
    "target",
    "area",
    "quality",
    "scope_score",
    "in_scope",
    "set_aside",
)
_YES = {True: "yes", False: "no"}


class QualityReport:
    """Decides which results are set aside, and lists all masks with their predicted quality.

    Args:
        min_quality: results with a mask that is predicted to have a smaller Dice are set aside;
            None for none.
        path: the CSV table, or None.
        overwrite: whether an existing table may be replaced.
        only_in_scope: whether images that are out of scope are set aside, too.

    Raises:
        InputError: for a wrong number, and a table that exists or is a folder.

    The attribute `count` is how many images are set aside.

    Example:
        >>> mask = np.array([[True, False]])
        >>> report = QualityReport(min_quality=0.8)
        >>> bad = FileResult(Path("x.png"), index=0, count=1, mask=mask, quality={"mask": 0.6})
        >>> report.sets_aside(bad), report.count
        (True, 1)
    """

    def __init__(
        self,
        min_quality: float | None = None,
        path: Path | None = None,
        overwrite: bool = False,
        only_in_scope: bool = False,
    ):
        if min_quality is not None:
            check_min_quality(min_quality)
        if path is not None and path.is_dir():
            raise InputError(f"The report {path} is a folder; give a file for the table.")
        if path is not None and path.exists() and not overwrite:
            raise InputError(
                f"The report {path} already exists; choose another --report, or give --overwrite "
                "to replace it."
            )
        self.min_quality = min_quality
        self.path = path
        self.only_in_scope = only_in_scope
        self.may_set_aside = min_quality is not None or only_in_scope
        self.count = 0
        self._bad = 0
        self._unlike = 0
        self._unpredicted: dict[str, None] = {}
        self._out_of_scope_unknown: dict[str, None] = {}
        self._rows: list[tuple[Any, ...]] = []

    def check(self, segmenter: Any, name: str) -> None:
        """Refuse a least quality for a model that predicts none, and likewise for the scope.

        Args:
            segmenter: the model.
            name: its name, for the message.

        Raises:
            InputError: see above; and for a table that cannot be written.
        """
        if self.min_quality is not None and not getattr(segmenter, "quality", None):
            raise InputError(
                f"{name} does not predict the quality of its masks, which --min-quality needs; "
                "leave it out, or add the prediction with fit_quality() on labelled images."
            )
        if self.only_in_scope and not getattr(segmenter, "scope", None):
            raise InputError(
                f"{name} does not tell which images are in scope, which --only-in-scope needs; "
                "leave it out, or add it with fit_scope()."
            )
        if self.path is not None:
            try:
                check_writable(self.path.parent)
            except OSError as error:
                raise InputError(
                    f"The report {self.path} cannot be written: {error.strerror}."
                ) from error

    def sets_aside(self, result: FileResult) -> bool:
        """Note an image's masks; return whether the image is set aside."""
        least = self.min_quality
        bad = least is not None and any(value < least for value in result.quality.values())
        unlike = self.only_in_scope and result.in_scope is False
        if self.only_in_scope and result.in_scope is None:
            self._out_of_scope_unknown[str(result.modality)] = None
        aside = bad or unlike
        self._bad += bad
        self._unlike += unlike
        self.count += aside
        for target, mask in result.masks.items():
            quality = result.quality.get(target)
            if quality is None:
                self._unpredicted[f"{target} ({result.modality})"] = None
            row = (
                result.path,
                (result.index or 0) + 1,
                result.modality,
                target,
                f"{float(mask.mean()):.4f}",
                "" if quality is None else f"{quality:.4f}",
                "" if result.scope_score is None else f"{result.scope_score:.4f}",
                "" if result.in_scope is None else _YES[result.in_scope],
                _YES[aside],
            )
            self._rows.append(row)
        return aside

    def sentences(self) -> list[str]:
        """Return what is to be said at the end: how many are too bad, and what was not judged."""
        said = []
        if self._bad:
            those = "1 image is" if self._bad == 1 else f"{self._bad} images are"
            said.append(f"{those} predicted to be below {self.min_quality:g}.")
        if self._unlike:
            those = "1 image is" if self._unlike == 1 else f"{self._unlike} images are"
            said.append(f"{those} out of scope.")
        if self._out_of_scope_unknown:
            said.append(
                "Not judged by --only-in-scope, since the model does not tell the scope of "
                f"{', '.join(self._out_of_scope_unknown)}."
            )
        if self.min_quality is not None and self._unpredicted:
            said.append(
                "Not judged by --min-quality, since the model does not predict their quality: "
                f"{', '.join(self._unpredicted)}."
            )
        return said

    def write(self) -> None:
        """Write the table, if one was asked for.

        Raises:
            InputError: when it cannot be written.
        """
        if self.path is None:
            return
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(_COLUMNS)
        table.writerows(map(cell, row) for row in self._rows)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(self.path) as temporary:
                temporary.write_text(text.getvalue(), encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"The report {self.path} cannot be written: {error.strerror}."
            ) from error
