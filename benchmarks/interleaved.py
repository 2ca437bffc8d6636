"""Timing of several calls in one process."""

import statistics
import time


def medians(calls, repeats, clock=time.perf_counter):
    """Median seconds of each call, measured in turn so that noise meets all alike.

    Args:
        calls: functions without arguments.
        repeats: int. How often each is called.
        clock: `time.perf_counter`, or `time.process_time` where other programs run too.
    """
    times = [[] for _ in calls]
    for _ in range(repeats):
        for seconds, call in zip(times, calls, strict=True):
            start = clock()
            call()
            seconds.append(clock() - start)
    return [statistics.median(seconds) for seconds in times]
