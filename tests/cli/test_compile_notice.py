"""`segment` and `evaluate` say that the model compiles, where the first images take long."""

import pytest

from keras_espmedsam import _compile_notice
from keras_espmedsam.cli import loading

SENTENCE = (
    "JAX compiles the model for the first images, which can take a minute or more; "
    "the next ones are quick.\n"
)


class Timer:
    """One that fires at once; `made` are those that were not cancelled."""

    made = set()

    def __init__(self, seconds, function, arguments):
        self.fire = lambda: function(*arguments)

    def start(self):
        self.made.add(self)
        self.fire()

    def cancel(self):
        self.made.discard(self)


@pytest.fixture
def on(monkeypatch, segmenter):
    def set_up(backend, run_eagerly):
        for module in (_compile_notice, loading):
            monkeypatch.setattr(module, "choose_backend", lambda: backend)
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
        monkeypatch.setattr(_compile_notice.threading, "Timer", Timer)
        monkeypatch.setattr(Timer, "made", set())
        if run_eagerly is not None:
            segmenter.run_eagerly = run_eagerly

    return set_up


CASES = [("jax", False, 1), ("jax", True, 0), ("jax", None, 0), ("torch", False, 0)]


@pytest.mark.parametrize(("backend", "run_eagerly", "count"), CASES)
def test_segment(on, run, image, backend, run_eagerly, count):
    on(backend, run_eagerly)
    paths = [image(f"{number}.png") for number in range(3)]
    result = run("segment", *paths, "--modality", "xray", "--batch-size", 1)
    assert result.exit_code == 0
    assert result.stderr.count(SENTENCE) == result.stderr.count("compiles") == count
    assert not any(line in result.stdout for line in ("compiles", "JAX"))
    assert not Timer.made


def test_a_few_images_are_not_traced_on_tensorflow_and_many_are(on, run, image):
    on("tensorflow", False)
    paths = [image(f"{number}.png") for number in range(9)]
    many = run("segment", *paths, "--modality", "xray")
    assert "TensorFlow compiles the model for the first images" in many.stderr
    few = run("segment", *paths[:8], "--modality", "xray", "--output", "few")
    assert "compiles" not in few.stderr


@pytest.mark.parametrize(("backend", "run_eagerly", "count"), CASES)
def test_evaluate(on, run, image, tmp_path, backend, run_eagerly, count):
    on(backend, run_eagerly)
    image("image.png")
    image("mask.png")
    rows = ["split,modality,dataset,image,mask"] + ["test,xray,one,image.png,mask.png"] * 2
    (tmp_path / "index.csv").write_text("\n".join(rows))
    result = run("evaluate", "--data", "index.csv", "--batch-size", 1)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count(SENTENCE) == result.stderr.count("compiles") == count
    assert not Timer.made


def test_an_error_ends_the_waiting(on, run, image, segmenter):
    on("jax", False)
    segmenter.segment = None
    result = run("segment", image("eye.png"), "--modality", "xray")
    assert result.exit_code == 2 or result.exception
    assert not Timer.made
