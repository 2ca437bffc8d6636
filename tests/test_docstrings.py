"""The examples in the docstrings run as printed, whatever the backend."""

import doctest
import importlib
import pkgutil

import keras
import numpy as np
import pytest

import keras_espmedsam as kem

_NANO = "espmedsam_nano_256"


def _examples():
    names = [kem.__name__]
    names += [one.name for one in pkgutil.walk_packages(kem.__path__, kem.__name__ + ".")]
    # What a reader has after the imports of the README, and the classes by their bare names.
    shared = {**vars(kem.layers), **vars(kem.models), "keras": keras, "kem": kem, "np": np}
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in names:
        module = importlib.import_module(name)
        yield from finder.find(module, globs={**shared, **vars(module)})


_CASES = [case for case in _examples() if case.examples]


def test_examples_are_found():
    assert len(_CASES) > 50


@pytest.mark.parametrize("case", _CASES, ids=[case.name for case in _CASES])
def test_example(case):
    if any(_NANO in example.source for example in case.examples):
        weights = kem.models.ESPMedSAMImageSegmenter.presets.get(_NANO)
        if weights is None:
            pytest.skip(f"the preset {_NANO} is not there yet")
    report = []
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(case, out=report.append)
    assert not runner.failures, "".join(report)
