"""The notebook runs from top to bottom, as a new kernel runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "train_your_own.ipynb"


def cells(kind):
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_it_holds_no_outputs_and_no_commands_of_a_notebook():
    assert len(cells("markdown")) > 5
    for cell in cells("code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None
        # Plain Python, so that what is tested is what runs.
        assert not any(line.startswith(("!", "%")) for line in cell["source"])


# What it shows is tested on all backends where it is made.
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="minutes of compiling elsewhere")
def test_it_runs_at_toy_size(tmp_path):
    parts = ["".join(cell["source"]) for cell in cells("code")]
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join(parts), encoding="utf-8")
    environment = {**os.environ, "ESPMEDSAM_TOY": "1", "MPLBACKEND": "Agg"}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        cwd=tmp_path,
        env={**environment, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    for words in ("common: val_loss", "controllers: val_loss", "Dice of the student"):
        assert words in result.stdout
    for preset in ("my_preset", "my_preset_with_speckle"):
        assert (tmp_path / "train_your_own" / preset / "task.json").exists()
    curve = (tmp_path / "train_your_own" / "runs" / "fine" / "curves.csv").read_text()
    assert "val_masks_dice" in curve.splitlines()[0]
    # Everything was there: the first cell has installed nothing.
    assert not (tmp_path / "constraints.txt").exists()
