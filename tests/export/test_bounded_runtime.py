"""A runtime under limits: its time, its memory, and its errors as sentences."""

import sys
import threading
import time

import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.export import bounded_runtime
from keras_espmedsam.export.bounded_runtime import VARIABLE, BoundedRuntime, allowed_seconds

INPUTS = {"images": np.zeros((1, 8, 8, 3), "uint8")}


def bounded(function, **options):
    return BoundedRuntime(lambda: function, "eye.onnx", **options)


def test_results_and_sentences_are_passed_on():
    assert bounded(lambda inputs: {"sum": inputs["images"].sum()})(INPUTS) == {"sum": 0}

    def refuse(inputs):
        raise InputError("as it is")

    with pytest.raises(InputError, match=r"^as it is$"):
        bounded(refuse)(INPUTS)


@pytest.mark.parametrize("error", [KeyError("a\x1b[2J"), RuntimeError("a\nb"), SystemExit(3)])
def test_what_a_runtime_raises_is_a_sentence(error):
    def fail(*inputs):
        raise error

    with pytest.raises(InputError, match=r"The artefact eye\.onnx cannot be loaded") as caught:
        BoundedRuntime(fail, "eye.onnx")
    assert str(caught.value).isprintable()
    for unbounded in (False, True):
        with pytest.raises(InputError, match=r"cannot be run \("):
            bounded(fail, unbounded=unbounded)(INPUTS)


def test_it_is_waited_for_as_long_as_is_said(monkeypatch):
    monkeypatch.setenv(VARIABLE, "0.2")
    stopped = threading.Event()

    class Slow:
        def __call__(self, inputs):
            stopped.wait(20)
            return {}

        def stop(self):
            stopped.set()

    runtime = bounded(Slow())
    start = time.monotonic()
    with pytest.raises(InputError, match=rf"not run within 0\.2 seconds.*{VARIABLE}"):
        runtime(INPUTS)
    assert stopped.is_set()
    with pytest.raises(InputError, match="not run within"):  # at once
        runtime(INPUTS)
    assert time.monotonic() - start < 10
    # More pixels have more time, and who is trusted has any.
    many = {"images": np.broadcast_to(np.uint8(0), (10, 2000, 2000, 3))}
    quick = bounded(lambda inputs: time.sleep(0.6) or {"a": 1})
    assert quick(many) == {"a": 1}
    assert bounded(lambda inputs: time.sleep(0.6) or {}, unbounded=True)(INPUTS) == {}


def test_a_thread_of_its_own_for_each_that_calls():
    meeting = threading.Barrier(2, timeout=10)
    runtime = bounded(lambda inputs: {"at": meeting.wait()})
    found = []
    threads = [threading.Thread(target=lambda: found.append(runtime(INPUTS))) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(one["at"] for one in found) == [0, 1]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux alone")
def test_memory_is_bounded_and_given_back(monkeypatch):
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    monkeypatch.setattr(bounded_runtime, "BYTES", 2**28)
    runtime = bounded(lambda inputs: {"a": np.zeros(2**29, "uint8")[-1]})
    with pytest.raises(InputError, match=r"cannot be run.*--trust"):
        runtime(INPUTS)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    free = bounded(lambda inputs: {"a": np.zeros(2**29, "uint8")[-1]}, unbounded=True)
    assert free(INPUTS) == {"a": 0}
    assert bounded(lambda inputs: {"a": np.zeros(2**26, "uint8")[-1]})(INPUTS) == {"a": 0}


def test_the_limit_that_is_said(monkeypatch):
    assert allowed_seconds() == 60
    monkeypatch.setenv(VARIABLE, "inf")
    assert allowed_seconds() == float("inf")
    for wrong in ("x", "0", "-1", "nan"):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(InputError, match=f"{VARIABLE} is '{wrong}'"):
            allowed_seconds()
