"""The presets that come with the package."""

import json

import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub import built_in_presets
from keras_espmedsam.hub.built_in_presets import builtin_presets, presets_dir

SOUND = {"classes": [], "metadata": {"description": "x", "params": 1}, "get_weights": ""}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "eye").mkdir()
    monkeypatch.setattr(built_in_presets, "presets_dir", lambda: tmp_path)
    return tmp_path / "eye"


def test_every_one_says_what_it_is():
    found = builtin_presets()
    assert set(found) == {path.parent.name for path in presets_dir().glob("*/preset.json")}
    assert found["espmedsam_nano_256"]["metadata"]["params"] == 4_180_653


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"classes": "x"}, "has classes: 'x'; expected a list of names"),
        ({"classes": [1]}, r"has classes: \[1\]; expected a list of names"),
        ({"metadata": 5}, "has metadata: 5; expected an object"),
        ({"metadata": {"params": 1}}, r"has metadata\.description: None; expected text"),
        (
            {"metadata": {"description": "x", "params": "1"}},
            r"has metadata\.params: '1'; expected a",
        ),
        ({"get_weights": None}, "has get_weights: None; expected text"),
    ],
    ids=range(6),
)
def test_a_wrong_field_is_named(folder, changed, says):
    (folder / "preset.json").write_text(json.dumps(SOUND))
    assert builtin_presets()["eye"]["weights"] is False
    (folder / "preset.json").write_text(json.dumps({**SOUND, **changed}))
    with pytest.raises(InputError, match=r"^The file preset\.json of .* eye " + says):
        builtin_presets()


def test_a_damaged_file_is_a_sentence(folder):
    (folder / "preset.json").write_text("{")
    with pytest.raises(InputError, match=r"^The file preset\.json of .* eye is damaged"):
        builtin_presets()
