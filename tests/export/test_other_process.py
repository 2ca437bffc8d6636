"""Another process writes what this backend cannot, and what it says is told."""

import keras
import pytest

import keras_espmedsam as kem
from keras_espmedsam.export.other_process import _place


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="it writes in this process")
def test_what_another_process_says_is_told(segmenter, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "tensorflow.py").write_text("raise RuntimeError('broken')")
    with pytest.raises(kem.errors.InputError, match="broken"):
        segmenter.export_for("onnx", tmp_path / "m.onnx")


def test_what_the_other_process_cannot_import_is_told_before_it_starts():
    class Mine:
        pass

    with pytest.raises(kem.errors.InputError, match="The format 'mine' is defined in the program"):
        _place(Mine, "The format 'mine'")
    found = _place(kem.models.TiCBackbone, "It")
    assert found == "keras_espmedsam.models.tic.tic_backbone:TiCBackbone"
