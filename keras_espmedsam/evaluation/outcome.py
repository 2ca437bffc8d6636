"""What has become of every image of an evaluation: measured, failed, or still to be done."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_espmedsam.data.record import Record
from keras_espmedsam.data.samples import inspect_record
from keras_espmedsam.errors import InputError

# So many reasons are named where nothing could be measured.
_NAMED = 5


class Outcome:
    """The images of an evaluation, by `(number of the record, number in its file)`.

    The headers of all files are read at once: what cannot be used is told before the hours that
    the rest takes.

    Args:
        records: the images and their masks.
        max_pixels: the most pixels that an image may have.
        progress: as for `evaluate`.
        on_failure: as for `evaluate`.

    The attributes are `wanted` (dict of a record's number to the images of its file), `measured`
    (dict of an image to its measures) and `failures` (list of dicts).

    Raises:
        InputError: when none of the files can be used.

    Source: ours.
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
        self.measured: dict[tuple[int, int], dict[str, float]] = {}
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
        # Where all are, one sentence says so.
        self._on_failure = on_failure if self.wanted else None
        for number, index, reason in refused:
            self.fail(number, index, reason)
        if not self.wanted:
            raise self.nothing_measured()

    def measure(self, number: int, index: int, measures: Mapping[str, float]) -> None:
        """Note what was measured of an image."""
        self.measured[number, index] = dict(measures)
        self._settle(number, 1)

    def fail(self, number: int, index: int | None, reason: str, count: int = 1) -> None:
        """Note why an image, and the `count - 1` behind it in its file, cannot be measured."""
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
        """Hand on how many records were done since the last call, where any were."""
        if self._progress and self._done:
            self._progress(self._done)
        self._done = 0

    def failed(self) -> list[dict[str, Any]]:
        """The failures in the order of the records, as they are reported."""
        order = sorted(self.failures, key=lambda one: (one["number"], one["index"] or 0))
        return [{key: one[key] for key in one if key != "number"} for one in order]

    def nothing_measured(self) -> InputError:
        """The sentence of a run that has measured nothing."""
        reasons = " ".join(one["reason"] for one in self.failed()[:_NAMED])
        more = len(self.failures) - _NAMED
        return InputError(
            f"No image can be measured. {reasons}" + (f" And {more} more." if more > 0 else "")
        )

    def _settle(self, number, count):
        self._left[number] -= count
        self._done += self._left[number] == 0
