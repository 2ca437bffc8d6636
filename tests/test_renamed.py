"""What is imported under a name of version 0.1.0."""

import importlib
import pathlib
import sys

import numpy as np
import pytest
from PIL import Image

import keras_espmedsam as kem
from keras_espmedsam import _renamed

PACKAGE = pathlib.Path(kem.__file__).parent

# These need no Keras, so that they can be imported without a backend.
PLAIN = ("recognition", "checksums", "data.pictures", "data.nifti")


@pytest.fixture
def forgotten():
    """Old names that no other test has imported already."""
    names = [f"keras_espmedsam.{name}" for name in _renamed.MODULES]
    kept = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    yield
    sys.modules.update(kept)


@pytest.mark.parametrize("name", PLAIN)
def test_a_module_is_itself_under_its_old_name(name, forgotten):
    new = importlib.import_module(f"keras_espmedsam.{_renamed.MODULES[name]}")
    with pytest.warns(DeprecationWarning, match=f"{name} is now {new.__name__}"):
        old = importlib.import_module(f"keras_espmedsam.{name}")
    assert old is new
    assert new.__spec__.name == new.__name__


def test_a_module_that_has_become_two_gives_the_names_of_both(forgotten):
    with pytest.warns(DeprecationWarning, match=r"built_in_presets and keras_espmedsam\.hub\.from"):
        old = importlib.import_module("keras_espmedsam.preset_registry")
    for module, name in (
        ("built_in_presets", "resolve_preset"),
        ("from_preset", "knows_builtin_presets"),
    ):
        new = importlib.import_module(f"keras_espmedsam.hub.{module}")
        assert getattr(old, name) is getattr(new, name)
        assert new.__spec__.name == new.__name__


def test_every_new_name_is_there():
    for old, news in _renamed.MODULES.items():
        for new in (news,) if isinstance(news, str) else news:
            path = PACKAGE / new.replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), (old, new)


@pytest.mark.parametrize("name", _renamed.ATTRIBUTES["data"])
def test_old_names_of_functions(name):
    with pytest.warns(DeprecationWarning, match=f"data.{name} is now keras_espmedsam.data"):
        old = getattr(kem.data, name)
    assert old is getattr(kem.data, _renamed.ATTRIBUTES["data"][name])


def test_one_name_of_a_module_that_has_become_several(forgotten):
    with pytest.warns(DeprecationWarning) as warned:
        from keras_espmedsam.data.picture import Frame, Layout, Picture, Volume  # noqa: F401
    assert Picture is kem.data.DecodedImage and Layout is kem.data.Layout
    assert [str(one.message).partition(";")[0] for one in warned][-1] == (
        "keras_espmedsam.data.decoded_image.Picture is now "
        "keras_espmedsam.data.decoded_image.DecodedImage"
    )
    assert {one.filename for one in warned} == {__file__}


def test_a_folder_that_an_update_left_behind_hides_nothing(tmp_path, forgotten, monkeypatch):
    """Such as `__pycache__` of a module that has gone, in a checkout that was updated."""
    (tmp_path / "checksums" / "__pycache__").mkdir(parents=True)
    monkeypatch.setattr(kem, "__path__", [*kem.__path__, str(tmp_path)])
    with pytest.warns(DeprecationWarning):
        old = importlib.import_module("keras_espmedsam.checksums")
    assert old is importlib.import_module("keras_espmedsam.hub.checksums")


def test_no_old_name_is_one_of_today():
    for old in _renamed.MODULES:
        path = PACKAGE / old.replace(".", "/")
        assert not path.with_suffix(".py").exists() and not (path / "__init__.py").exists(), old


def test_old_names_of_methods(tmp_path):
    Image.fromarray(np.full((4, 6), 7, "uint8")).save(tmp_path / "a.png")
    file = kem.data.inspect_image_file(tmp_path / "a.png")
    with pytest.warns(DeprecationWarning, match=r"ImageFile\.pictures is now ImageFile\.images"):
        (image,) = file.pictures(labels=True)
    assert image.array.tolist() == [[7] * 6] * 4


def test_names_that_never_were():
    with pytest.raises(ModuleNotFoundError, match=r"keras_espmedsam\.no_such"):
        importlib.import_module("keras_espmedsam.no_such")
    with pytest.raises(AttributeError, match=r"'keras_espmedsam\.data' has no attribute 'no_such'"):
        _ = kem.data.no_such
