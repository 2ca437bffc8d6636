"""Where the reports of `espmedsam evaluate` go: what is wrong there is learned before the run."""

import contextlib
import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_espmedsam._files import atomic_path, check_writable, remove_leftovers
from keras_espmedsam._shown import cell
from keras_espmedsam.cli.console import stderr
from keras_espmedsam.data.formats.file_kind import file_kind
from keras_espmedsam.data.record import Record
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.measurement_log import LogContent, MeasurementLog, read_log
from keras_espmedsam.evaluation.run_settings import record_files

SUFFIX = ".partial"
"""What follows a report's name in that of the file which keeps the measures until then."""


class ReportFiles:
    """The reports of one run, and the log that keeps its measures until they are written.

    Args:
        output: the report as JSON, or None.
        per_image: the table of the images, or None.
        overwrite: whether reports that exist may be replaced, and a log begun anew.
        resume: whether to go on with a log.

    Raises:
        InputError: when there is something in the way; the sentence says what to do.

    Source: ours.
    """

    def __init__(self, output: Path | None, per_image: Path | None, overwrite: bool, resume: bool):
        self.output = output
        self.per_image = per_image
        self.reports = [path for path in (output, per_image) if path is not None]
        self._resume = resume
        self._log: Path | None = None
        if resume and not self.reports:
            raise InputError(
                "Received --resume without --output or --per-image, beside which the measures of "
                "the interrupted run are kept; give those of that run."
            )
        if len(self.reports) == 2 and _same(*self.reports):
            raise InputError(
                f"Received {output} for --output and --per-image; give each a file of its own."
            )
        logs = [path.with_name(path.name + SUFFIX) for path in self.reports if path.name]
        for path in logs:
            if any(_same(path, report) for report in self.reports):
                raise InputError(
                    f"The report {path} has the name of the file that keeps the measures of the "
                    "run; choose another."
                )
        named = ((output, "--output"), (per_image, "--per-image"))
        options = [(path, option) for path, option in named if path is not None]
        for path, option in options:
            _check_file(path, option)
        begun = {path: read_log(path) for path in logs}
        begun = {path: content for path, content in begun.items() if content.settings is not None}
        self._log = next(iter(begun), logs[0] if logs else None)
        held = next(iter(begun.values()), LogContent())
        if begun and not (resume or overwrite):
            count = len({one[:2] for one in held.measured})
            raise InputError(
                f"{self._log} keeps the measures of a run that is not complete (images: {count}); "
                "give --resume to go on with it, or --overwrite to start again."
            )
        # Those that this very run wrote, before it was killed or because some images failed.
        own = set(held.reports) if resume else set()
        for path, option in options:
            replaceable = overwrite or os.path.realpath(path) in own
            if path.exists() and not replaceable:
                raise InputError(
                    f"The report {path} exists already; choose another {option}, or give "
                    "--overwrite to replace it."
                )

    def check_place(self, index: Path, records: Sequence[Record]) -> None:
        """Check that no report replaces an input, and that reports can be written; make folders.

        Args:
            index: the index.
            records: what is in it.

        Raises:
            InputError: otherwise.

        Source: ours.
        """
        inputs = {
            (found.st_dev, found.st_ino)
            for path in (index, *(file for one in records for file in record_files(one)))
            if (found := _stat(path))
        }
        for path in self.reports:
            found = _stat(path)
            # Images of the other splits, too.
            if found and ((found.st_dev, found.st_ino) in inputs or file_kind(path).format):
                raise InputError(
                    f"The report {path} would replace an input of that name; choose another."
                )
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                remove_leftovers(path.parent)
                check_writable(path.parent)
            except OSError as error:
                raise InputError(f"The report {path} cannot be written: {_why(error)}.") from error

    def log(self) -> contextlib.AbstractContextManager[MeasurementLog | None]:
        """The log, open for this program alone; None where no report is to be written."""
        if self._log is None:
            return contextlib.nullcontext()
        return MeasurementLog(self._log, restart=not self._resume)

    def write(
        self, report: dict[str, Any], rows: Sequence[dict[str, Any]], log: MeasurementLog | None
    ) -> None:
        """Write the reports.

        Args:
            report: what `evaluate` returns.
            rows: a row of the table per image.
            log: is told which files are written from it.

        Raises:
            InputError: when one cannot be written; the log stays.

        Source: ours.
        """
        if log is not None:
            log.append(reports=[os.path.realpath(path) for path in self.reports])
        if self.output is not None:
            self._write(self.output, json.dumps(report, indent=2) + "\n")
        if self.per_image is not None:
            text = io.StringIO()
            table = csv.writer(text, lineterminator="\n")
            table.writerow(map(cell, rows[0]))
            table.writerows(map(cell, row.values()) for row in rows)
            self._write(self.per_image, text.getvalue())

    def remove_log(self) -> None:
        """Remove the log: all that it holds is in the reports."""
        if self._log is not None:
            self._log.unlink(missing_ok=True)

    def _write(self, path, text):
        try:
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"The report {path} cannot be written: {_why(error)}. The measures are kept in "
                f"{self._log}; repeat the command with --resume to write it."
            ) from error
        stderr().print(f"Report: {path}")


def _check_file(path, option):
    try:
        if path.is_dir():
            raise InputError(f"The report {path} is a folder; expected a file name.")
        for file in (path, path.with_name(path.name + SUFFIX)):
            if file.exists() and not file.is_file():
                raise InputError(f"{file} is no regular file; choose another {option}.")
    except OSError as error:
        raise InputError(f"The report {path} cannot be written: {_why(error)}.") from error


def _same(first, second):
    found, other = _stat(first), _stat(second)
    if found and other:
        return (found.st_dev, found.st_ino) == (other.st_dev, other.st_ino)
    return os.path.realpath(first) == os.path.realpath(second)


def _stat(path):
    try:
        return os.stat(path)
    except OSError:
        return None


def _why(error):
    return error.strerror or type(error).__name__
