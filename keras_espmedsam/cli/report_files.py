"""The report files of `espmedsam evaluate`, checked before the run starts."""

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
"""Added to a report's name for the log that keeps the metrics until the report is written."""


class ReportFiles:
    """The reports of one run, and the log that keeps its metrics until they are written.

    Args:
        output: path of the JSON report, or None.
        per_image: path of the CSV table of the images, or None.
        overwrite: whether existing reports may be replaced, and a log started again.
        resume: whether to continue an existing log.

    Raises:
        InputError: when a file is in the way; the message says what to do.
    """

    def __init__(self, output: Path | None, per_image: Path | None, overwrite: bool, resume: bool):
        self.output = output
        self.per_image = per_image
        self.reports = [path for path in (output, per_image) if path is not None]
        self._resume = resume
        self._log: Path | None = None
        if resume and not self.reports:
            raise InputError(
                "Received --resume without --output or --per-image; give the same ones as for the "
                "interrupted run, whose metrics are saved beside them."
            )
        if len(self.reports) == 2 and _same(*self.reports):
            raise InputError(
                f"Received {output} for both --output and --per-image; give two different files."
            )
        logs = [path.with_name(path.name + SUFFIX) for path in self.reports if path.name]
        for path in logs:
            if any(_same(path, report) for report in self.reports):
                raise InputError(
                    f"The report {path} has the name of the log that keeps the metrics of the run; "
                    "choose another name."
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
                f"{self._log} holds the metrics of an unfinished run (images: {count}); give "
                "--resume to continue it, or --overwrite to start again."
            )
        # Reports of this same run, written before it was killed or because some images failed.
        own = set(held.reports) if resume else set()
        for path, option in options:
            replaceable = overwrite or os.path.realpath(path) in own
            if path.exists() and not replaceable:
                raise InputError(
                    f"The report {path} already exists; choose another {option}, or give "
                    "--overwrite to replace it."
                )

    def check_place(self, index: Path, records: Sequence[Record]) -> None:
        """Create the folders, and check that reports can be written and replace no input.

        Args:
            index: path of the index.
            records: its records.

        Raises:
            InputError: when a report cannot be written or would replace an input.
        """
        inputs = {
            (found.st_dev, found.st_ino)
            for path in (index, *(file for one in records for file in record_files(one)))
            if (found := _stat(path))
        }
        for path in self.reports:
            found = _stat(path)
            # The second check covers images of the other splits.
            if found and ((found.st_dev, found.st_ino) in inputs or file_kind(path).format):
                raise InputError(
                    f"The report {path} would replace an input file; choose another name."
                )
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                remove_leftovers(path.parent)
                check_writable(path.parent)
            except OSError as error:
                raise InputError(f"The report {path} cannot be written: {_why(error)}.") from error

    def log(self) -> contextlib.AbstractContextManager[MeasurementLog | None]:
        """Open the log, locked for this process; None if there are no reports to write."""
        if self._log is None:
            return contextlib.nullcontext()
        return MeasurementLog(self._log, restart=not self._resume)

    def write(
        self, report: dict[str, Any], rows: Sequence[dict[str, Any]], log: MeasurementLog | None
    ) -> None:
        """Write the reports.

        Args:
            report: the result of `evaluate`.
            rows: one row per image, for the table.
            log: the log, in which the paths of the reports are noted.

        Raises:
            InputError: when a report cannot be written; the log stays.
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
        """Remove the log, once everything in it is in the reports."""
        if self._log is not None:
            self._log.unlink(missing_ok=True)

    def _write(self, path, text):
        try:
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"The report {path} cannot be written: {_why(error)}. The metrics are saved in "
                f"{self._log}; repeat the command with --resume to write the report."
            ) from error
        stderr().print(f"Report: {path}")


def _check_file(path, option):
    try:
        if path.is_dir():
            raise InputError(f"The report {path} is a folder; expected a file name.")
        for file in (path, path.with_name(path.name + SUFFIX)):
            if file.exists() and not file.is_file():
                raise InputError(f"{file} is not a regular file; choose another {option}.")
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
