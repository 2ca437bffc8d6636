"""Timing of several calls in one process."""

import statistics
import time


def medians(calls, repeats):
    """Median seconds of each call, measured in turn so that noise meets all alike."""
    times = [[] for _ in calls]
    for _ in range(repeats):
        for seconds, call in zip(times, calls, strict=True):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in times]
