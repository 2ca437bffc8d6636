"""CPU seconds that a process may use, counted over all its starts."""

import json
import resource

from keras_espmedsam.data import atomic_path


def cpu_seconds():
    """Return the CPU seconds of this process and its finished children, start-up included."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class CpuBudget:
    """A number of CPU seconds, and how much of it is used.

    Work that is lost in an interruption is not counted: its result is lost, too.

    Args:
        seconds: float.
        before: float. Used by earlier processes, up to the checkpoint that this one begins with.
        clock: function that returns the seconds used by this process.
        start: float. What the clock showed when counting began; 0 counts the start-up, too.
    """

    def __init__(self, seconds, before=0.0, clock=cpu_seconds, start=0.0):
        self.seconds = float(seconds)
        self._before = before - start
        self._clock = clock

    @property
    def used(self):
        return self._before + self._clock()

    @property
    def share(self):
        """The share that is used, from 0 to 1."""
        return min(self.used / self.seconds, 1.0)


def write_json(path, value):
    """Write JSON to a temporary name and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def read_json(path):
    """Return what a JSON file holds; None if there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
