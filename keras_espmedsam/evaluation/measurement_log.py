"""The measures of an evaluation on disk as they come, so that a killed one can be resumed."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_espmedsam._files import locked
from keras_espmedsam.errors import InputError

_KEY = "espmedsam evaluate"
# The first bytes of every log: a file that begins otherwise is not ours, and is left alone.
_HEAD = f'{{"{_KEY}": '.encode()


class Measurement(NamedTuple):
    """The measures of one image.

    Args:
        record: number of its record, from 0.
        index: number of the image in its file, from 0.
        files: what tells whether the files have changed since; see `file_stamps`.
        measures: name to value.

    Source: ours.
    """

    record: int
    index: int  # type: ignore[assignment]  # A tuple's method of that name is not needed.
    files: list[int]
    measures: dict[str, float]


@dataclasses.dataclass
class LogContent:
    """What a log holds.

    Args:
        settings: what was measured and how; None for a log that has not begun.
        measured: a `Measurement` per image, in the order in which they were taken.
        failed: `(record, index)` of images whose batch was segmented without them.
        reports: the files that were written, or begun to be written, from this log.
        size: bytes of its whole lines. What is behind them was cut by a kill.

    Source: ours.
    """

    settings: dict[str, Any] | None = None
    measured: list[Measurement] = dataclasses.field(default_factory=list)
    failed: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    reports: list[str] = dataclasses.field(default_factory=list)
    size: int = 0


def file_stamps(*paths: Path) -> list[int]:
    """Size and time of change of files: another one means that they are to be measured again.

    Args:
        *paths: the files; one that is gone counts as changed.

    Source: ours.
    """
    stamps = []
    for path in paths:
        try:
            found = os.stat(path)
        except OSError:
            stamps += [-1, -1]
        else:
            stamps += [found.st_size, found.st_mtime_ns]
    return stamps


def read_log(path: str | os.PathLike) -> LogContent:
    """Read what a log holds, up to the line in which a kill cut it.

    Args:
        path: the log; one that does not exist holds nothing.

    Raises:
        InputError: when it cannot be read, or is no log of an evaluation.

    Example:
        >>> read_log("none.partial").measured
        []

    Source: ours.
    """
    path = Path(path)
    try:
        return _parsed(path, path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return LogContent()
    except OSError as error:
        raise InputError(f"The file {path} cannot be read: {error.strerror}.") from error


class MeasurementLog:
    """A log that is open for one program alone, to be read and then appended to.

    A text file, one JSON object a line. The first holds the settings, each other one a batch. A
    line is written at once, so that a killed program loses the batch in work and nothing else,
    and what goes on forms the same batches. The file is made with the first batch.

    Args:
        path: the file; its folder must exist.
        restart: whether to forget what it holds, as soon as there is something to be written.

    Raises:
        InputError: when the file cannot be opened, is no log, or another program is writing it.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/report.json.partial"
        >>> with MeasurementLog(path) as log:
        ...     _ = log.begin({"threshold": 0.5})
        ...     log.append([Measurement(0, 0, [], {"dice": 0.9})])
        >>> read_log(path).measured[0].measures
        {'dice': 0.9}

    Source: ours.
    """

    def __init__(self, path: str | os.PathLike, restart: bool = False):
        self.path = Path(path)
        self._header = b""
        self._written = False
        with contextlib.ExitStack() as on_error:
            try:
                # Unbuffered: what could not be written is not tried again when it is closed.
                self._file = on_error.enter_context(open(self.path, "a+b", buffering=0))
                if not locked(self._file):
                    raise InputError(
                        f"Another program is writing {self.path}; wait for it, or choose another "
                        "report."
                    )
                self._file.seek(0)
                data = self._file.read()
            except OSError as error:
                raise InputError(
                    f"The file {self.path}, which keeps the measures until the report is written, "
                    f"cannot be written: {error.strerror}."
                ) from error
            self._content = _parsed(self.path, data)
            on_error.pop_all()
        if restart:
            self._content = LogContent()
        self._images = {one[:2] for one in self._content.measured}

    def __enter__(self) -> "MeasurementLog":
        return self

    def __exit__(self, *error: object) -> None:
        empty = not os.fstat(self._file.fileno()).st_size
        self._file.close()
        # One that holds no measures would only be in the way.
        if empty or (self._written and not self.count):
            self.path.unlink(missing_ok=True)

    @property
    def count(self) -> int:
        """How many images it holds the measures of."""
        return len(self._images)

    def begin(self, settings: dict[str, Any]) -> LogContent:
        """Say what is going to be measured and how.

        Args:
            settings: names to values that JSON can hold; those of a log that goes on must be
                equal.

        Returns:
            What the log holds already.

        Raises:
            InputError: when it was begun with other settings.

        Source: ours.
        """
        settings = json.loads(json.dumps(settings))
        before = self._content.settings
        if before is None:
            self._header = _line({_KEY: settings})
        elif before != settings:
            names = [n for n in {**before, **settings} if before.get(n) != settings.get(n)]
            differences = ", ".join(
                f"{name} {_shown(before.get(name))} (now {_shown(settings.get(name))})"
                for name in names
            )
            raise InputError(
                f"The measures in {self.path} were taken with {differences}. Repeat the run as it "
                "was, or remove that file to start again."
            )
        return self._content

    def append(
        self,
        measured: Sequence[Measurement] = (),
        failed: Sequence[tuple[int, int]] = (),
        reports: Sequence[str] = (),
    ) -> None:
        """Write one line, whole or not at all.

        Args:
            measured: a `Measurement` per image.
            failed: `(record, index)` of images whose batch was segmented without them.
            reports: paths of reports that are about to be written.

        Raises:
            InputError: when it cannot be written.

        Source: ours.
        """
        values = {"measured": measured, "failed": failed, "reports": reports}
        line = _line({name: list(value) for name, value in values.items() if value})
        try:
            # Behind the last whole line: one that was cut would spoil what follows it.
            self._file.truncate(self._content.size)
            left = memoryview(self._header + line)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise InputError(
                f"The measures cannot be written to {self.path}: {error.strerror}. Those before "
                "are in it; mend that and resume the run."
            ) from error
        self._content.size += len(self._header + line)
        self._header = b""
        self._written = True
        self._images |= {one[:2] for one in measured}


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values).encode() + b"\n"


def _parsed(path: Path, data: bytes) -> LogContent:
    if _HEAD.startswith(data[: len(_HEAD)]) and b"\n" not in data:
        return LogContent()  # empty, or killed in the first line
    first, *lines = data.split(b"\n")
    try:
        content = LogContent(json.loads(first)[_KEY], size=len(first) + 1)
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"The file {path} would keep the measures of this run, but holds something else; "
            "move it away, or choose another report."
        ) from None
    # What follows the last newline was cut. So is, after a crash of the machine, all from the
    # first line on that says nothing: it is measured again.
    for line in lines[:-1]:
        try:
            values = json.loads(line)
            measured = [Measurement(*one) for one in values.get("measured", ())]
            failed = [(record, index) for record, index in values.get("failed", ())]
            content.reports += values.get("reports", ())
        except (ValueError, TypeError, AttributeError):
            break
        content.measured += measured
        content.failed += failed
        content.size += len(line) + 1
    return content


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:12]}..."
