"""Every built-in preset gives the numbers that `tools/preset_outputs.py` has stored.

So a change that moves code, and is to change nothing, proves itself on all of them.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def load_tool(name):
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


preset_outputs = load_tool("preset_outputs")
# Of an output's largest value, or of 1: the backends add in different orders.
TOLERANCE = 1e-5
TOLERANCES = {"espmedsam_tinyvit_1024": 1e-4}


@pytest.fixture(scope="module")
def stored():
    return preset_outputs.stored_outputs()


# Configurations without weights, which differ from the first in their sizes alone.
LARGER = ("tic_small", "tic_base")


def is_slow(name):
    # An earlier version, NAME@1, is computed by the same code as the newest.
    return name in LARGER or "@" in name


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow_on("jax", "tensorflow")] * is_slow(name))
        for name in preset_outputs.preset_names()
    ],
)
def test_a_preset_gives_the_stored_numbers(name, stored):
    command = f"python tools/preset_outputs.py {name}"
    assert name in stored, f"Nothing is stored of the preset {name}; run `{command}`."
    outputs, expected = preset_outputs.preset_outputs(name), stored[name]
    assert set(outputs) == set(expected), f"Other outputs are stored; if meant, run `{command}`."
    for output, values in outputs.items():
        scale = max(1, np.abs(expected[output]).max())
        np.testing.assert_allclose(
            values,
            expected[output],
            rtol=0,
            atol=scale * TOLERANCES.get(name, TOLERANCE),
            err_msg=f"{name}: {output}",
        )


def test_nothing_is_stored_of_presets_that_are_gone(stored):
    assert set(stored) == set(preset_outputs.preset_names())
