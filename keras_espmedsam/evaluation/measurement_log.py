"""Save the metrics of an evaluation as they come, so that a killed run can be resumed."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_espmedsam._files import locked
from keras_espmedsam._plain_file import check_plain_file
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.instance_metrics import ObjectMatches
from keras_espmedsam.evaluation.target_measures import TargetMeasures

_KEY = "espmedsam evaluate"
# The first bytes of every log; any other file is left alone.
_HEAD = f'{{"{_KEY}": '.encode()


class Measurement(NamedTuple):
    """The metrics of one target in one image.

    Args:
        record: number of its record, from 0.
        index: number of the image in its file, from 0.
        files: stamps of the files, to detect changes; see `file_stamps`.
        measures: metrics of the mask, name to value.
        target: the target's name; empty if the report does not name targets.
        objects: the values of its `ObjectMatches`, or None if objects are not told apart.
    """

    record: int
    index: int  # type: ignore[assignment]  # A tuple's method of that name is not needed.
    files: list[int]
    measures: dict[str, float]
    target: str = ""
    objects: list[Any] | None = None

    @classmethod
    def of(cls, key: tuple[int, int], files: list[int], one: TargetMeasures) -> "Measurement":
        """Return the entry of a target's metrics."""
        objects = None if one.objects is None else list(vars(one.objects).values())
        return cls(*key, files, one.values, one.target, objects)

    @property
    def found(self) -> TargetMeasures:
        """The target's metrics."""
        objects = None if self.objects is None else ObjectMatches(*self.objects)
        return TargetMeasures(self.target, self.measures, objects)


@dataclasses.dataclass
class LogContent:
    """The content of a log.

    Args:
        settings: what was measured and how; None for a log that is still empty.
        measured: a `Measurement` per image and target, in the order of measuring.
        failed: `(record, index)` of images whose batch was segmented without them.
        reports: the reports that were written, or started, from this log.
        size: bytes of its complete lines; anything after them was cut off by a kill.
    """

    settings: dict[str, Any] | None = None
    measured: list[Measurement] = dataclasses.field(default_factory=list)
    failed: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    reports: list[str] = dataclasses.field(default_factory=list)
    size: int = 0


def file_stamps(*paths: Path) -> list[int]:
    """Return size and modification time of files, to detect changes.

    Args:
        *paths: the files; a missing one counts as changed.
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
    """Read a log, up to a line that was cut off by a kill.

    Args:
        path: the log; if it does not exist, the content is empty.

    Raises:
        InputError: when it cannot be read, or is not the log of an evaluation.

    Example:
        >>> read_log("none.partial").measured
        []
    """
    path = Path(path)
    try:
        check_plain_file(path)
        return _parsed(path, path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return LogContent()
    except OSError as error:
        raise InputError(f"The file {path} cannot be read: {error.strerror}.") from error


class MeasurementLog:
    """A log that is locked for this process, to read it and append to it.

    It is a text file with one JSON object per line: the first line holds the settings, each
    further line one batch. Lines are written completely, so that a killed run loses only its
    unfinished batch, and a resumed run forms the same batches. The file is created with the first
    batch.

    Args:
        path: the file; its folder must exist.
        restart: whether to discard its content at the first write.

    Raises:
        InputError: when the file cannot be opened, is not a log, or another program is writing it.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/report.json.partial"
        >>> with MeasurementLog(path) as log:
        ...     _ = log.begin({"threshold": 0.5})
        ...     log.append([Measurement(0, 0, [], {"dice": 0.9})])
        >>> read_log(path).measured[0].measures
        {'dice': 0.9}
    """

    def __init__(self, path: str | os.PathLike, restart: bool = False):
        self.path = Path(path)
        self._header = b""
        self._written = False
        with contextlib.ExitStack() as on_error:
            try:
                # A device would be read without end, and removed at the end.
                with contextlib.suppress(FileNotFoundError):
                    check_plain_file(self.path)
                # Unbuffered, so that a failed write is not tried again on closing.
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
                    f"The file {self.path}, which keeps the metrics until the report is written, "
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
        # A log without metrics would only be in the way.
        if empty or (self._written and not self.count):
            self.path.unlink(missing_ok=True)

    @property
    def count(self) -> int:
        """The number of images whose metrics it holds."""
        return len(self._images)

    def begin(self, settings: dict[str, Any]) -> LogContent:
        """Set what is measured and how.

        Args:
            settings: names to values that JSON can hold; they must equal those of an existing log.

        Returns:
            The content of the log.

        Raises:
            InputError: when the log was started with other settings.
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
                f"The metrics in {self.path} were measured with {differences}. Repeat the run with "
                "the old settings, or remove that file to start again."
            )
        return self._content

    def append(
        self,
        measured: Sequence[Measurement] = (),
        failed: Sequence[tuple[int, int]] = (),
        reports: Sequence[str] = (),
    ) -> None:
        """Write one line, completely or not at all.

        Args:
            measured: a `Measurement` per image and target.
            failed: `(record, index)` of images whose batch was segmented without them.
            reports: paths of reports that are about to be written.

        Raises:
            InputError: when it cannot be written.
        """
        values = {"measured": measured, "failed": failed, "reports": reports}
        line = _line({name: list(value) for name, value in values.items() if value})
        try:
            # After the last complete line, because a cut line would spoil the next one.
            self._file.truncate(self._content.size)
            left = memoryview(self._header + line)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise InputError(
                f"The metrics cannot be written to {self.path}: {error.strerror}. Earlier ones are "
                "saved in it; fix the problem and resume the run."
            ) from error
        self._content.size += len(self._header + line)
        self._header = b""
        self._written = True
        self._images |= {one[:2] for one in measured}


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values).encode() + b"\n"


def _parsed(path: Path, data: bytes) -> LogContent:
    if _HEAD.startswith(data[: len(_HEAD)]) and b"\n" not in data:
        return LogContent()  # Empty, or killed while writing the first line.
    first, *lines = data.split(b"\n")
    try:
        content = LogContent(json.loads(first)[_KEY], size=len(first) + 1)
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"The file {path} is needed for the metrics of this run, but holds something else; "
            "move it away, or choose another report."
        ) from None
    # Text after the last newline was cut off. After a crash of the machine, everything from the
    # first invalid line on is measured again.
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
