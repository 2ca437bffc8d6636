"""What is imported under a name of version 0.1.0, where that imports Keras."""

import importlib
import types

import pytest

from keras_espmedsam import _renamed
from keras_espmedsam.export import ExportedSegmenter


def places(new):
    """The old names of the module `new`, or itself where it has kept its own."""
    old = [
        old
        for old, news in _renamed.MODULES.items()
        if new in ((news,) if isinstance(news, str) else news)
    ]
    return old or [new]


@pytest.mark.filterwarnings("ignore:.*the old name will be removed:DeprecationWarning")
@pytest.mark.parametrize("new", _renamed.ATTRIBUTES)
def test_every_name_that_has_changed_is_found_where_version_0_1_0_had_it(new):
    module = importlib.import_module(f"keras_espmedsam.{new}")
    for place in places(new):
        old = importlib.import_module(f"keras_espmedsam.{place}")
        for old_name, new_name in _renamed.ATTRIBUTES[new].items():
            # A module of that old name, which another test has imported, would stand before it.
            if isinstance(vars(old).get(old_name), types.ModuleType):
                delattr(old, old_name)
            assert getattr(old, old_name) is getattr(module, new_name), (place, old_name)


@pytest.mark.filterwarnings("ignore:.*the old name will be removed:DeprecationWarning")
@pytest.mark.parametrize("old", _renamed.MODULES)
def test_every_module_of_an_old_name_is_imported(old):
    module = importlib.import_module(f"keras_espmedsam.{old}")
    assert any(not name.startswith("_") for name in vars(module))


def test_the_converter_of_an_artefact_is_found_under_its_old_name():
    segmenter = ExportedSegmenter.__new__(ExportedSegmenter)
    segmenter.image_converter = object()
    with pytest.warns(DeprecationWarning, match=r"converter is now ExportedSegmenter\.image_conv"):
        assert segmenter.converter is segmenter.image_converter
