"""The state of every image of an evaluation: measured, failed, or still to do."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from keras_espmedsam.data.record import Record
from keras_espmedsam.data.samples import inspect_record
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.target_measures import TargetMeasures

# The number of reasons to list if nothing could be measured.
_NAMED = 5


class Outcome:
    """The images of an evaluation, by `(number of the record, number in its file)`.

    The headers of all files are read first, so that bad files are reported before the rest, which
    may take hours.

    Args:
        records: the images and their masks.
        max_pixels: the most pixels that an image may have.
        progress: as for `evaluate`.
        on_failure: as for `evaluate`.

    The attributes are `wanted` (a record's number to the images of its file), `measured` (an image
    to the metrics of its targets) and `failures` (list of dicts).

    Raises:
        InputError: when none of the files can be used.
    """

    def __init__(
        self,
        records: Sequence[Record],
        max_pixels: int,
        progress: Callable[[int], None] | None = None,
        on_failure: Callable[[Record, str], None] | None = None,
    ):
        self.records = records
        self.wanted: dict[int, Sequence[int]] = {}
        self.measured: dict[tuple[int, int], list[TargetMeasures]] = {}
        self.failures: list[dict[str, Any]] = []
        self._progress = progress
        self._left: dict[int, int] = {}
        self._done = 0
        refused = []
        for number, record in enumerate(records):
            self._left[number] = 1
            try:
                count = inspect_record(record, max_pixels).count
            except InputError as error:
                refused.append((number, record.index, str(error)))
            else:
                self.wanted[number] = range(count) if record.index is None else [record.index]
                self._left[number] = len(self.wanted[number])
        # If all files are rejected, a single error reports it.
        self._on_failure = on_failure if self.wanted else None
        for number, index, reason in refused:
            self.fail(number, index, reason)
        if not self.wanted:
            raise self.nothing_measured()

    def measure(self, number: int, index: int, measures: Sequence[TargetMeasures]) -> None:
        """Note the metrics of an image, those of each of its targets."""
        self.measured[number, index] = list(measures)
        self._settle(number, 1)

    def fail(self, number: int, index: int | None, reason: str, count: int = 1) -> None:
        """Note why an image, and the next `count - 1` in its file, cannot be measured."""
        record = self.records[number]
        failure = {
            **{"dataset": record.dataset, "split": record.split, "image": str(record.image)},
            **{"index": index, "count": count, "reason": reason},
        }
        self.failures.append({"number": number, **failure})
        self._settle(number, count)
        if self._on_failure:
            self._on_failure(dataclasses.replace(record, index=index), reason)

    def tell_progress(self) -> None:
        """Report how many records were finished since the last call, if any."""
        if self._progress and self._done:
            self._progress(self._done)
        self._done = 0

    def failed(self) -> list[dict[str, Any]]:
        """Return the failures in the order of the records, for the report."""
        order = sorted(self.failures, key=lambda one: (one["number"], one["index"] or 0))
        return [{key: one[key] for key in one if key != "number"} for one in order]

    def nothing_measured(self) -> InputError:
        """Return the error for a run that has measured nothing."""
        reasons = " ".join(one["reason"] for one in self.failed()[:_NAMED])
        more = len(self.failures) - _NAMED
        return InputError(
            f"No image can be measured. {reasons}" + (f" And {more} more." if more > 0 else "")
        )

    def _settle(self, number, count):
        self._left[number] -= count
        self._done += self._left[number] == 0
