"""The presets that come with the package."""

import json

import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub import built_in_presets
from keras_espmedsam.hub.built_in_presets import (
    builtin_presets,
    card_licence,
    presets_dir,
    resolve_preset,
    versioned_name,
    weights_are_elsewhere,
)

SOUND = {"classes": [], "metadata": {"description": "x", "params": 1}, "get_weights": ""}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "eye").mkdir()
    monkeypatch.setattr(built_in_presets, "presets_dir", lambda: tmp_path)
    return tmp_path / "eye"


def test_every_one_says_what_it_is():
    found = builtin_presets()
    folders = {path.parent.name for path in presets_dir().glob("*/preset.json")}
    assert set(found) == {name for name in folders if "@" not in name}
    first = resolve_preset("espmedsam_nano_256@1", load_weights=False)
    (params,) = (
        entry["metadata"]["params"]
        for entry in builtin_presets(earlier=True).values()
        if entry["path"] == first
    )
    assert params == 4_180_653


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
        ({"version": 0}, "has version: 0; expected a whole number from 1"),
        ({"version": True}, "has version: True; expected a whole number from 1"),
    ],
    ids=range(8),
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


@pytest.fixture
def versions(folder):
    """The preset eye in version 3, with version 1, and version 2 without its weights."""
    for name, values in {"eye": {"version": 3}, "eye@1": {}, "eye@2": {}}.items():
        place = folder.with_name(name)
        place.mkdir(exist_ok=True)
        (place / "preset.json").write_text(json.dumps({**SOUND, **values}))
        (place / "README.md").write_text(f"---\nlicense: of-{name}\n---\n")
        if name != "eye@2":
            (place / "model.weights.h5").touch()
    return folder.parent


def test_a_name_is_the_newest_version(versions):
    assert {name: one["version"] for name, one in builtin_presets().items()} == {"eye": 3}
    listed = builtin_presets(earlier=True)
    assert {name: one["version"] for name, one in listed.items()} == {
        "eye": 3,
        "eye@1": 1,
        "eye@2": 2,
    }
    assert resolve_preset("eye") == resolve_preset("eye@3") == str(versions / "eye")
    assert resolve_preset("eye@1") == str(versions / "eye@1")
    assert (card_licence("eye@3"), card_licence("eye@1")) == ("of-eye", "of-eye@1")


@pytest.mark.parametrize("version", ("4", "0", "01", "", "newest", "1@1"))
def test_a_version_that_does_not_exist(versions, version):
    says = rf"^The preset eye has no version '{version}'; it has 1, 2, 3\. Write eye@3, or eye for"
    with pytest.raises(InputError, match=says):
        resolve_preset(f"eye@{version}")


def test_an_unknown_name_with_a_version(versions):
    with pytest.raises(InputError, match=r"Unknown preset 'eyes@1'.*did you mean eye"):
        resolve_preset("eyes@1")


def test_the_weights_of_an_earlier_version_may_be_in_a_package_of_their_own(versions):
    with pytest.raises(
        InputError,
        match=r"'eye@2' comes without weights\. Those of earlier versions are in a package of "
        "their own: `pip install keras-espmedsam-earlier-presets`",
    ):
        resolve_preset("eye@2")
    assert resolve_preset("eye@2", load_weights=False) == str(versions / "eye@2")
    elsewhere = [
        name for name in ("eye", "eye@1", "eye@2") if weights_are_elsewhere(versions / name)
    ]
    assert elsewhere == ["eye@2"]
    (versions / "eye" / "model.weights.h5").unlink()
    assert not weights_are_elsewhere(versions / "eye")  # The newest are missing: a damaged package.


def test_reports_state_the_version(versions):
    stated = {"eye": "eye@3", "eye@1": "eye@1", "eye@9": "eye@9", "./eye": "./eye"}
    assert {name: versioned_name(name) for name in stated} == stated


def test_every_version_before_the_newest_is_there():
    found = {}
    for name, entry in builtin_presets(earlier=True).items():
        found.setdefault(name.partition("@")[0], []).append(entry["version"])
    for name, versions in found.items():
        assert sorted(versions) == list(range(1, len(versions) + 1)), name
