"""Another process writes what this backend cannot, and what it says is told."""

import subprocess
import sys

import keras
import pytest

import keras_espmedsam as kem
from keras_espmedsam.export import other_process
from keras_espmedsam.export.other_process import _place, _waited_for


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="it writes in this process")
def test_what_another_process_says_is_told(segmenter, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "tensorflow.py").write_text("raise RuntimeError('broken')")
    with pytest.raises(kem.errors.InputError, match="broken"):
        segmenter.export_for("onnx", tmp_path / "m.onnx")


def test_what_the_other_process_cannot_import_is_told_before_it_starts():
    class Mine:
        pass

    with pytest.raises(
        kem.errors.InputError, match="The format 'mine' is defined in the main program"
    ):
        _place(Mine, "The format 'mine'")
    found = _place(kem.models.TiCBackbone, "It")
    assert found == "keras_espmedsam.models.tic.tic_backbone:TiCBackbone"


def test_what_a_process_says_and_how_it_ends_is_known():
    # More than a pipe holds: it is read meanwhile.
    code = "import sys; print('out'); sys.stderr.write('e' * 200_000); sys.exit(3)"
    assert _waited_for([sys.executable, "-c", code], "torch") == (3, "e" * 200_000)
    assert _waited_for([sys.executable, "-c", "print('out')"], "torch") == (0, "out\n")


def test_nobody_waits_for_it_after_ctrl_c(tmp_path, monkeypatch):
    begun = []
    popen = subprocess.Popen

    def start(*given, **named):
        begun.append(popen(*given, **named))
        begun[0].wait = _interrupted(begun[0].wait)
        return begun[0]

    def _interrupted(wait):
        calls = []

        def once(*given):
            calls.append(1)
            if len(calls) == 1:
                raise KeyboardInterrupt
            return wait(*given)

        return once

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(KeyboardInterrupt):
        _waited_for([sys.executable, "-c", "import time; time.sleep(60)"], "torch")
    assert begun[0].poll() is not None


def test_one_that_the_system_ended_is_told(segmenter, monkeypatch):
    monkeypatch.setattr(other_process, "_waited_for", lambda *given: (-9, ""))
    with pytest.raises(kem.errors.InputError, match=r"was killed by the signal SIGKILL"):
        other_process._run(segmenter, {}, "tensorflow", "onnx")
