import numpy as np
import pytest

from keras_espmedsam.data import Targets
from keras_espmedsam.imaging.placement import Placement
from keras_espmedsam.inference.chosen_targets import choose_targets, thresholds_of
from keras_espmedsam.inference.target_masks import ImageMaps, target_masks

RNG = np.random.default_rng(0)


def masks_of(targets, planes, threshold=0.5, rules=None, wanted=None):
    chosen = choose_targets(targets, "m", wanted)
    planes = {name: np.asarray(plane, "float32") for name, plane in planes.items()}
    return target_masks(chosen, planes, thresholds_of(threshold, targets), rules or {}, {})


GROUP = Targets({"m": ("a", "b", "c", "d")}, exclusive={"m": [("a", "b", "c")]})


@pytest.mark.parametrize("threshold", [0, 0.1, 0.34, {"a": 0.9, "b": 0.1, "c": 0.2}])
def test_the_most_probable_of_those_that_reach_their_threshold_keeps_a_pixel(threshold):
    planes = {name: RNG.integers(0, 5, (20, 30)) / 4 for name in "abcd"}
    masks, objects = masks_of(GROUP, planes, threshold)
    values = np.stack([planes[name] for name in "abc"])
    limits = np.float32([thresholds_of(threshold, GROUP)[name] for name in "abc"])
    values = np.where(values >= limits[:, None, None], values, -1)
    best = np.where(values.max(0) < 0, -1, values.argmax(0))  # The first of equal ones.
    for number, name in enumerate("abc"):
        np.testing.assert_array_equal(masks[name], best == number)
    np.testing.assert_array_equal(masks["d"], planes["d"] >= thresholds_of(threshold, GROUP)["d"])
    assert objects == {}


def test_the_mask_of_a_target_is_the_same_whichever_are_wanted():
    targets = Targets(
        {"m": ("v", "a", "b", "disc", "cup")},
        exclusive={"m": [("a", "b")]},
        nested={"m": {"a": "v", "b": "v", "cup": "disc"}},
    )
    planes = {name: RNG.random((20, 30)) for name in targets.of("m")}
    rules = {"b": {"min_area": 3}, "disc": {"fill_holes": True}}
    every, _ = masks_of(targets, planes, 0.3, rules)
    for name in targets.of("m"):
        some, _ = masks_of(targets, planes, 0.3, rules, [name])
        np.testing.assert_array_equal(some[name], every[name])


def test_nested_masks_stay_nested_whatever_their_thresholds_and_rules():
    targets = Targets({"m": ("cup", "disc", "eye")}, nested={"m": {"cup": "disc", "disc": "eye"}})
    planes = {name: RNG.random((20, 30)) for name in targets.of("m")}
    rules = {"cup": {"fill_holes": True}, "eye": {"max_objects": 1}}
    masks, _ = masks_of(targets, planes, {"cup": 0.2, "disc": 0.5, "eye": 0.4}, rules)
    assert masks["cup"].any()
    assert not (masks["cup"] & ~masks["disc"]).any() and not (masks["disc"] & ~masks["eye"]).any()


def test_a_filled_hole_leaves_an_exclusive_target_its_pixels():
    targets = Targets({"m": ("a", "b")}, exclusive={"m": [("a", "b")]})
    a, b = np.full((5, 5), 0.9), np.zeros((5, 5))
    a[1:4, 1:4] = 0.1
    b[2, 2] = 0.8
    masks, _ = masks_of(targets, {"a": a, "b": b}, rules={"a": {"fill_holes": True}})
    assert masks["b"].sum() == 1 and masks["a"].sum() == 24 and not masks["a"][2, 2]


def test_objects_are_parts_of_the_mask_and_numbered_without_gaps():
    targets = Targets({"m": ("cells", "edge")}, instances={"m": {"cells": "components"}})
    plane = np.zeros((3, 9))
    plane[1, [0, 2, 3, 4, 6, 7]] = 1
    planes = {"cells": plane, "edge": np.zeros((3, 9))}
    masks, objects = masks_of(targets, planes)
    assert objects["cells"][1].tolist() == [1, 0, 2, 2, 2, 0, 3, 3, 0]
    assert objects["cells"].dtype == np.int32
    masks, objects = masks_of(targets, planes, rules={"cells": {"min_area": 2}})
    assert objects["cells"][1].tolist() == [0, 0, 1, 1, 1, 0, 2, 2, 0]
    np.testing.assert_array_equal(masks["cells"], objects["cells"] > 0)


def test_objects_lose_what_their_target_loses_to_others():
    targets = Targets(
        {"m": ("inner", "outer", "other")},
        exclusive={"m": [("inner", "other")]},
        nested={"m": {"inner": "outer"}},
        instances={"m": {"inner": "components"}},
    )
    inner = np.array([[0.9, 0.9, 0.9, 0.9, 0.9, 0, 0.9]])
    outer = np.array([[0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1]])
    other = np.array([[0, 0, 1.0, 0, 0, 0, 0]])
    planes = {"inner": inner, "outer": outer, "other": other}
    for threshold in (0.5, {"inner": 0.0}):
        _, objects = masks_of(targets, planes, threshold)
        expected = [1, 1, 0, 2, 2, 2 * (threshold != 0.5), 0]
        assert objects["inner"].tolist() == [expected]
    # A hole of an object may be filled only where the outer target is.
    ring, outer = np.ones((5, 5)), np.ones((5, 5))
    ring[2, 2] = outer[2, 2] = 0
    planes = {"inner": ring, "outer": outer, "other": np.zeros((5, 5))}
    masks, objects = masks_of(targets, planes, rules={"inner": {"fill_holes": True}})
    assert masks["inner"].sum() == 24 and objects["inner"].sum() == 24


def test_a_hidden_map_splits_what_touches():
    pytest.importorskip("skimage", reason="needs the extra instances")
    targets = Targets({"m": ("cells",)}, instances={"m": {"cells": "core"}})
    core = np.zeros((3, 9))
    core[1, [1, 2, 6, 7]] = 1
    planes = {"cells": np.ones((3, 9)), "cells:core": core}
    masks, objects = masks_of(targets, planes)
    assert masks["cells"].all() and objects["cells"].max() == 2
    assert objects["cells"][1, 1] == 1 and objects["cells"][1, 7] == 2


# === The maps of an image ===


def maps_of(targets, values, place, wanted=None):
    return ImageMaps(choose_targets(targets, "m", wanted), np.float32(values), place)


def test_only_needed_channels_are_placed_back():
    targets = Targets({"m": ("a", "b"), "n": ("x", "y", "z")}, instances={"m": {"b": "core"}})
    values = RNG.random((8, 8, 3))
    place = Placement.of((12, 16), image_size=(8, 8))
    maps = maps_of(targets, values, place, ["b"])
    assert set(maps.planes) == {"b", "b:core"}
    np.testing.assert_array_equal(maps.planes["b"], place.backward(np.float32(values[..., 1])))
    masks, probabilities, objects = maps.results({"b": 0.5}, {})
    assert masks.shape == probabilities.shape == (12, 16, 1)
    assert probabilities.dtype == np.float32 and masks.dtype == bool
    np.testing.assert_array_equal(objects["b"] > 0, masks[..., 0])


def test_arrays_of_absent_channels_are_freed():
    targets = Targets({"m": ("a",), "n": ("x", "y", "z")})
    values = np.zeros((8, 8, 3), "float32")
    maps = maps_of(targets, values, Placement.of((8, 8)))  # Not resized, so a view would do.
    assert not any(np.shares_memory(plane, values) for plane in maps.planes.values())
    _, probabilities, _ = maps.results({"a": 0.5}, {})
    assert probabilities.base.size == 64


def test_one_target_has_plain_arrays():
    targets = Targets({"m": ("a",)})
    values = RNG.random((8, 8)).astype("float32")
    masks, probabilities, objects = maps_of(targets, values, Placement.of((8, 8))).results(
        {"a": 0.5}, {}
    )
    np.testing.assert_array_equal(probabilities, values)
    np.testing.assert_array_equal(masks, values >= 0.5)
    assert objects == {}


def test_areas_are_in_pixels_of_the_canvas():
    targets = Targets({"m": ("a", "b")})
    values = np.zeros((8, 8, 2))
    values[1:3, 1:3] = values[6, 6] = 1  # 4 pixels and 1
    maps = maps_of(targets, values, Placement.of((32, 32), image_size=(8, 8)))
    masks, _, _ = maps.results({"a": 0.5, "b": 0.5}, {"a": {"min_area": 3}})
    assert masks[24:, 24:, 1].any() and not masks[24:, 24:, 0].any()
    np.testing.assert_array_equal(masks[:16, :16, 0], masks[:16, :16, 1])


def test_rounding_never_makes_an_inner_target_more_probable():
    targets = Targets({"m": ("cup", "disc")}, nested={"m": {"cup": "disc"}})
    disc = RNG.random((8, 8))
    values = np.stack([disc * np.where(RNG.random((8, 8)) < 0.5, 1, 0.999999), disc], axis=-1)
    place = Placement.of((37, 23), image_size=(8, 8))
    maps = maps_of(targets, values, place)
    maps.add(maps_of(targets, values[:, ::-1], place), mirrored=True)
    maps.divide(2)
    _, probabilities, _ = maps.results({"cup": 0.5, "disc": 0.5}, {})
    assert (probabilities[..., 0] <= probabilities[..., 1]).all()
