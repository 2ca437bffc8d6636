"""The targets of each modality."""

import pytest

from keras_espmedsam.data import Targets
from keras_espmedsam.errors import InputError

EYE = ("vessels", "arteries", "veins", "optic_disc", "optic_cup")


def test_a_modality_without_targets_has_one_unnamed():
    targets = Targets.of_modalities(("xray", "fundus"))
    assert targets.is_default
    assert targets.num_channels == 1
    assert targets.config() == {}
    assert targets.index("xray", "") == targets.index("xray", "lungs") == 0


def test_channels_are_the_targets_and_then_the_hidden_ones():
    targets = Targets.of_modalities(
        ("slide", "fundus", "blood"),
        {"slide": ("glands", "nuclei", "mitoses"), "fundus": EYE, "blood": "cells"},
        instances={"slide": {"mitoses": "components", "nuclei": "core"}, "blood": ["cells"]},
    )
    assert targets.channels("slide") == ("glands", "nuclei", "mitoses", "nuclei:core")
    assert targets.channels("blood") == ("cells", "cells:core")
    assert targets.hidden("slide") == (("nuclei", "nuclei:core"),)
    assert targets.num_channels == 5
    assert targets.index("fundus", "optic_cup") == 4


def test_groups_and_outer_channels_are_tables():
    targets = Targets.of_modalities(
        ("fundus", "xray"),
        {"fundus": EYE, "xray": ("lungs", "heart")},
        exclusive={"fundus": [("arteries", "veins")]},
        nested={"fundus": {"optic_cup": "optic_disc", "arteries": "vessels"}},
    )
    assert targets.group_numbers() == ((0, 1, 1, 0, 0), (0, 0, 0, 0, 0))
    assert targets.outer_channels() == ((-1, 0, -1, -1, 3), (-1, -1, -1, -1, -1))


def test_the_config_builds_the_same_targets():
    targets = Targets.of_modalities(
        ("fundus", "xray", "slide"),
        {"fundus": EYE, "slide": "nuclei"},
        exclusive={"fundus": [("arteries", "veins")]},
        nested={"fundus": {"optic_cup": "optic_disc"}},
        instances={"slide": {"nuclei": True}},
    )
    assert Targets.of_modalities(("fundus", "xray", "slide"), **targets.config()) == targets
    assert targets.only("slide").config() == {
        "targets": {"slide": ["nuclei"]},
        "instances": {"slide": {"nuclei": "core"}},
    }


@pytest.mark.parametrize(
    "arguments, part",
    [
        ({"targets": {"fundus": ()}}, "one or more different names"),
        ({"targets": {"fundus": ("a", "a")}}, "one or more different names"),
        ({"targets": {"fundus": ("a b",)}}, "one or more different names"),
        ({"targets": {"fundus": 3}}, "one or more different names"),
        ({"targets": {"fundus": ("disc", "Disc")}}, "one or more different names"),
        ({"targets": {"fundus": ("disc", "background")}}, "no target in label images"),
        (
            {
                "exclusive": {"fundus": [("vessels", "veins")]},
                "nested": {"fundus": {"veins": "arteries", "arteries": "vessels"}},
            },
            "veins lies inside of vessels and excludes it",
        ),
        ({"targets": ["vessels"]}, "a dict with a modality as each key"),
        ({"targets": {"fundas": "vessels"}}, "did you mean fundus"),
        ({"exclusive": {"fundus": [("arteries", "vains")]}}, "'vains'"),
        ({"exclusive": {"fundus": [("arteries",)]}}, "two or more targets"),
        ({"exclusive": {"fundus": ["arteries", "veins"]}}, "a list of groups"),
        ({"exclusive": {"fundus": [("arteries", "veins"), ("veins", "vessels")]}}, "one group"),
        ({"nested": {"fundus": {"optic_cup": "disc"}}}, "'disc'"),
        ({"nested": {"fundus": ("optic_cup", "optic_disc")}}, "inner target to its outer"),
        ({"nested": {"fundus": {"veins": "vessels", "vessels": "veins"}}}, "contains itself"),
        ({"instances": {"fundus": {"vessels": "watershed"}}}, "boundary, core, components"),
        ({"instances": {"fundus": {"cells": "core"}}}, "'cells'"),
        ({"nested": {"xray": {}}}, "'xray'"),
    ],
)
def test_bad_declarations_are_rejected(arguments, part):
    with pytest.raises(InputError, match=part):
        Targets.of_modalities(("fundus",), **{"targets": {"fundus": EYE}, **arguments})


def test_a_target_of_another_modality_is_named():
    targets = Targets({"fundus": EYE, "xray": ("lungs",)})
    with pytest.raises(InputError, match="It is a target of fundus"):
        targets.index("xray", "veins")
