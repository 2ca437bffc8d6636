"""What computes for too long is ended; what waits is not."""

import threading
import time

import pytest
from PIL import Image

from keras_espmedsam.data import FileFormat, ImageSource, read_image
from keras_espmedsam.data.formats.time_limit import VARIABLE, TimeLimit, TimeUp, allowed_seconds
from keras_espmedsam.errors import InputError
from keras_espmedsam.registries import file_formats


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setenv(VARIABLE, "0.1")


def spin(catching=False):
    end = time.thread_time() + 5
    while time.thread_time() < end:
        try:
            sum(range(100))
        except BaseException:
            if not catching:
                raise


@pytest.mark.parametrize("catching", [False, True])
def test_a_loop_is_ended_even_if_it_catches_everything(catching):
    with pytest.raises(TimeUp), TimeLimit():
        if catching:  # some library's `except:`
            try:
                spin()
            except BaseException:
                return
        spin()


def test_a_block_whose_own_error_comes_late():
    with pytest.raises(TimeUp), TimeLimit():
        try:
            spin()
        except TimeUp:
            raise ValueError from None


def test_waiting_is_not_computing():
    if not hasattr(time, "pthread_getcpuclockid"):
        pytest.skip("this system tells no thread's time")
    with TimeLimit():
        time.sleep(0.6)


def test_each_thread_has_a_limit_of_its_own():
    ended = []

    def read(busy):
        try:
            with TimeLimit():
                spin() if busy else time.sleep(0.6)
        except TimeUp:
            ended.append(busy)

    threads = [threading.Thread(target=read, args=(busy,)) for busy in (True, False, True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [True, True]


def test_nothing_is_raised_behind_the_block():
    for _ in range(3):
        with pytest.raises(TimeUp), TimeLimit():
            spin()
    end = time.thread_time() + 0.6
    while time.thread_time() < end:
        sum(range(100))


@pytest.mark.parametrize("said", ["inf", "1e9"])
def test_the_limit_can_be_raised(monkeypatch, said):
    monkeypatch.setenv(VARIABLE, said)
    assert allowed_seconds() == float(said)
    with TimeLimit():
        sum(range(1000))


@pytest.mark.parametrize("said", ["0", "-1", "nan", "a minute"])
def test_what_is_no_number_of_seconds(monkeypatch, said):
    monkeypatch.setenv(VARIABLE, said)
    with pytest.raises(InputError, match=VARIABLE):
        allowed_seconds()


def test_a_reader_without_end_is_a_sentence(tmp_path):
    class Endless(FileFormat):
        name = "endless"
        suffixes = (".endless",)

        def open(self, path):
            return ImageSource(4, 6, 1, spin)

    file_formats.register("endless", Endless)
    try:
        path = tmp_path / "a.endless"
        path.write_text("for ever")
        with pytest.raises(InputError, match=f"stopped after 0.1 s .* variable {VARIABLE}"):
            read_image(path)
    finally:
        file_formats.unregister("endless")


def test_a_sound_file_is_read(tmp_path):
    Image.new("L", (6, 4), 7).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").array.max() == 7
