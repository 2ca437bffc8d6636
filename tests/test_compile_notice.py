"""What is said while something compiles for long, without waiting for it."""

import pytest

from keras_espmedsam import _compile_notice
from keras_espmedsam._compile_notice import CompileNotice

FOLDER = "JAX_COMPILATION_CACHE_DIR"


class Timer:
    """One that fires when it is told to."""

    made = []

    def __init__(self, seconds, function, arguments):
        self.seconds, self.fire = seconds, lambda: function(*arguments)
        self.started = self.cancelled = False
        self.made.append(self)

    def start(self):
        assert self.daemon
        self.started = True

    def cancel(self):
        self.cancelled = True


@pytest.fixture
def timers(monkeypatch):
    monkeypatch.setattr(_compile_notice.threading, "Timer", Timer)
    monkeypatch.setattr(Timer, "made", [])
    monkeypatch.setattr(_compile_notice, "_hinted", [])
    monkeypatch.setattr(_compile_notice, "users_own", lambda: None)
    monkeypatch.setenv(FOLDER, "")

    def on(backend):
        monkeypatch.setattr(_compile_notice, "choose_backend", lambda: backend)
        return Timer.made

    return on


@pytest.mark.parametrize(("backend", "name"), [("jax", "JAX"), ("tensorflow", "TensorFlow")])
def test_what_takes_long_is_said_once(timers, backend, name):
    (made, said) = timers(backend), []
    notice = CompileNotice(said.append)
    notice.begin("the first training step", "the next are quick")
    notice.begin("the first training step", "the next are quick")
    (timer,) = made
    assert (timer.seconds, timer.started) == (5.0, True)
    timer.fire()
    notice.end()
    assert said == [
        f"{name} compiles the first training step, which can take a minute or more; "
        "the next are quick."
    ]


def test_what_is_quick_is_not_said(timers):
    made, said = timers("jax"), []
    notice = CompileNotice(said.append)
    notice.begin("a", "b")
    notice.end()
    assert made[0].cancelled
    made[0].fire()  # It was on its way when it was cancelled.
    notice.end()
    assert said == []


def test_where_nothing_compiles_nothing_is_waited_for(timers):
    made = timers("torch")
    notice = CompileNotice(pytest.fail)
    notice.begin("a", "b")
    notice.end()
    assert made == []


def test_an_end_without_a_beginning():
    CompileNotice(pytest.fail).end()


@pytest.mark.parametrize(
    ("backend", "folder", "hinted"),
    [("jax", None, True), ("jax", "", False), ("jax", "kept", False), ("tensorflow", None, False)],
)
def test_what_could_be_kept_is_hinted_at(timers, monkeypatch, backend, folder, hinted):
    made, said = timers(backend), []
    monkeypatch.delenv(FOLDER)
    if folder is not None:
        monkeypatch.setenv(FOLDER, folder)
    notice = CompileNotice(said.append)
    notice.begin("a", "b")
    made[0].fire()
    hint = " keras_espmedsam.compile_cache() stores it for the next run."
    assert said[0].endswith(hint) is hinted

    again = CompileNotice(said.append)
    again.begin("c", "d")
    made[1].fire()
    assert said[1].startswith("JAX" if backend == "jax" else "TensorFlow")
    assert hint not in said[1]


def test_who_has_told_jax_of_a_folder_is_not_hinted_at_it(timers, monkeypatch):
    made, said = timers("jax"), []
    monkeypatch.delenv(FOLDER)
    monkeypatch.setattr(_compile_notice, "users_own", lambda: "/mine")
    CompileNotice(said.append).begin("a", "b")
    made[0].fire()
    assert said == ["JAX compiles a, which can take a minute or more; b."]
