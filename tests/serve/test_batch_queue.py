"""Model calls: in batches, one at a time, and each with its own errors."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from keras_espmedsam.serve.batch_queue import BatchQueue


class Doubling:
    """Doubles numbers; `sizes` holds the number of items of each call."""

    def __init__(self):
        self.sizes = []
        self.running = 0
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()

    def __call__(self, items):
        self.begun.set()
        self.gate.wait(10)
        self.running += 1
        assert self.running == 1, "two calls at a time"
        self.sizes.append(len(items))
        time.sleep(0.001)
        self.running -= 1
        if 13 in items:
            raise ValueError("13 brings bad luck")
        return [2 * one for one in items]


@pytest.fixture
def double():
    return Doubling()


@pytest.fixture
def queue():
    made = BatchQueue(batch_size=4, batch_wait=0.0)
    yield made
    made.close()


def wait_until(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_items_of_a_call_keep_their_order_and_come_in_powers_of_two(queue, double):
    assert queue.call("a", double, list(range(7))) == [0, 2, 4, 6, 8, 10, 12]
    assert double.sizes == [4, 2, 1]
    assert queue.sizes == [1, 2, 4]
    assert queue.call("a", double, []) == []


def test_callers_share_a_model_call(queue, double):
    double.gate.clear()
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(queue.call, "a", double, [0])
        assert double.begun.wait(10)
        others = [pool.submit(queue.call, "a", double, [number]) for number in (1, 2, 3, 4)]
        wait_until(lambda: len(queue._waiting) == 4)
        double.gate.set()
        assert [one.result() for one in [first, *others]] == [[0], [2], [4], [6], [8]]
    assert double.sizes == [1, 4]


def test_items_of_different_keys_do_not_share_a_call(queue, double):
    double.gate.clear()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(queue.call, "a", double, [0])
        assert double.begun.wait(10)
        others = [pool.submit(queue.call, key, double, [1]) for key in ("b", "c")]
        wait_until(lambda: len(queue._waiting) == 2)
        double.gate.set()
        assert [one.result() for one in [first, *others]] == [[0], [2], [2]]
    assert double.sizes == [1, 1, 1]


def test_items_of_different_shapes_do_not_share_a_call(queue, double):
    assert queue.call("a", double, [1, 2, 3, 4], shape=lambda one: one % 2) == [2, 4, 6, 8]
    assert double.sizes == [2, 2]


def test_a_lone_item_waits_no_longer_than_it_should(double):
    queue = BatchQueue(batch_size=2, batch_wait=5.0)
    began = time.monotonic()
    assert queue.call("a", double, [1, 2]) == [2, 4]  # A full batch does not wait.
    assert time.monotonic() - began < 4
    with ThreadPoolExecutor(1) as pool:
        lone = pool.submit(queue.call, "a", double, [3])
        wait_until(lambda: queue._waiting)
        queue.close()  # Closing ends the waiting, not the item.
        assert lone.result() == [6]
    assert time.monotonic() - began < 4


def test_an_item_that_fails_does_not_spoil_the_others(queue, double):
    double.gate.clear()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(queue.call, "a", double, [0])
        assert double.begun.wait(10)
        bad, good = (pool.submit(queue.call, "a", double, [number]) for number in (13, 2))
        wait_until(lambda: len(queue._waiting) == 2)
        double.gate.set()
        assert first.result() == [0]
        assert good.result() == [4]
        with pytest.raises(ValueError, match="bad luck"):
            bad.result()
    assert double.sizes == [1, 2, 1, 1]


def test_a_wrong_number_of_results_is_an_error(queue):
    with pytest.raises(RuntimeError, match="1 items have 2 results"):
        queue.call("a", lambda items: [1, 2], [1])


def test_what_is_too_late_is_not_computed(queue, double):
    double.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(queue.call, "a", double, [0])
        assert double.begun.wait(10)
        with pytest.raises(TimeoutError):
            queue.call("a", double, [1], deadline=time.monotonic())
        double.gate.set()
        assert first.result() == [0]
    assert queue.call("a", double, [5]) == [10]
    assert double.sizes == [1, 1]


def test_a_closed_queue_finishes_and_takes_no_more(double):
    queue = BatchQueue()
    assert queue.call("a", double, [1]) == [2]
    queue.close()
    with pytest.raises(RuntimeError, match="closed"):
        queue.call("a", double, [1])


def test_calls_are_observed(double):
    seen = []
    queue = BatchQueue(4, 0.0, lambda *what: seen.append(what))
    queue.call("a", double, [1, 2])
    queue.close()
    ((key, items, seconds),) = seen
    assert (key, items) == ("a", 2)
    assert seconds > 0
