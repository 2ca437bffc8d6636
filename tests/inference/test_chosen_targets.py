import types

import pytest

from keras_espmedsam.data import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.chosen_targets import (
    check_used,
    checked_targets,
    choose_targets,
    described,
    target_set_of,
    thresholds_of,
)

TARGETS = Targets(
    {
        "fundus": ("vessels", "arteries", "veins", "disc", "cup"),
        "xray": ("lungs",),
        "slide": ("nuclei", "stroma"),
    },
    exclusive={"fundus": [("arteries", "veins")]},
    nested={"fundus": {"arteries": "vessels", "veins": "vessels", "cup": "disc"}},
    instances={"slide": {"nuclei": "boundary", "stroma": "components"}},
)


def test_all_targets_of_a_modality():
    chosen = choose_targets(TARGETS, "slide")
    assert chosen.names == ("nuclei", "stroma") and chosen.helpers == ()
    assert chosen.channels == {"nuclei": 0, "stroma": 1, "nuclei:boundary": 2}
    assert chosen.hidden == {"nuclei": "nuclei:boundary"}
    assert chosen.kinds == {"nuclei": "boundary", "stroma": "components"}


def test_the_order_is_the_wanted_one_and_other_modalities_are_left_out():
    assert choose_targets(TARGETS, "fundus", ("cup", "lungs", "disc")).names == ("cup", "disc")
    assert choose_targets(TARGETS, "xray", ("cup", "lungs", "disc")).names == ("lungs",)


def test_what_decides_about_a_targets_pixels_is_needed_too():
    chosen = choose_targets(TARGETS, "fundus", ("arteries",))
    assert chosen.names == ("arteries",) and set(chosen.helpers) == {"veins", "vessels"}
    assert chosen.groups == (("arteries", "veins"),)
    assert set(chosen.nested) == {("arteries", "vessels"), ("veins", "vessels")}
    assert choose_targets(TARGETS, "fundus", ("vessels",)).helpers == ()
    assert choose_targets(TARGETS, "fundus", ("disc",)).nested == ()


def test_outer_targets_come_first():
    targets = Targets({"a": ("x", "y", "z")}, nested={"a": {"x": "y", "y": "z"}})
    assert choose_targets(targets, "a").nested == (("y", "z"), ("x", "y"))


def test_a_model_without_names_has_one_target_for_each_modality():
    plain = types.SimpleNamespace(modalities=["xray", "fundus"])
    assert target_set_of(plain).names == {"xray": ("mask",), "fundus": ("mask",)}
    assert target_set_of(types.SimpleNamespace(target_set=TARGETS)) is TARGETS


def test_wanted_targets_are_checked():
    assert checked_targets(None, TARGETS) is None
    assert checked_targets("cup", TARGETS) == ("cup",)
    assert checked_targets(iter(["cup", "lungs", "cup"]), TARGETS) == ("cup", "lungs")
    for wrong in ([], (), 3, ["cup", 3], {"cup": 1}, b"cup"):
        with pytest.raises(InputError, match="expected one or more names, or nothing for all"):
            checked_targets(wrong, TARGETS)
    with pytest.raises(InputError, match=r"'lung'; did you mean lungs\? .*lungs \(xray\)"):
        checked_targets(["cup", "lung"], TARGETS)
    unnamed = Targets.of_modalities(("xray", "fundus"))
    with pytest.raises(InputError, match=r"'cup'\. .* targets are mask \(xray, fundus\)\."):
        checked_targets("cup", unnamed)


def test_a_target_of_another_modality():
    words = r"'lungs', which belongs to xray; expected one of nuclei, stroma \(slide\)"
    with pytest.raises(InputError, match=words):
        check_used(("nuclei", "lungs"), TARGETS, ["slide", "slide"])
    check_used(("nuclei", "lungs"), TARGETS, ["slide", "xray"])
    check_used(None, TARGETS, ["slide"])
    check_used(("lungs",), TARGETS, [])  # No image lacks it.
    with pytest.raises(InputError, match=words):
        choose_targets(TARGETS, "slide", ("lungs",))


def test_thresholds():
    targets = Targets({"xray": ("lungs", "heart")})
    assert thresholds_of(0.3, targets) == {"lungs": 0.3, "heart": 0.3}
    assert thresholds_of({"heart": 0.3}, targets) == {"lungs": 0.5, "heart": 0.3}
    assert thresholds_of({}, targets) == {"lungs": 0.5, "heart": 0.5}
    for wrong, words in (
        (1.5, r"threshold=1\.5; expected a number"),
        (float("nan"), "threshold=nan"),
        ({"heart": -1}, r"threshold=-1 of heart"),
        ({"hearts": 0.5}, r"threshold of 'hearts'; did you mean heart\? .*lungs, heart \(xray\)"),
        ({3: 0.5}, "threshold of 3"),
    ):
        with pytest.raises(InputError, match=words):
            thresholds_of(wrong, targets)


def test_modalities_with_the_same_targets_are_described_together():
    assert described(Targets({"a": ("x",), "b": ("y", "z"), "c": ("x",)})) == "x (a, c); y, z (b)"
