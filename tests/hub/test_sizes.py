"""The sizes that a network may have."""

import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.sizes import check_class_names, check_described, check_sizes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("depths", (2, 2, 6, 2)),
        ("depths", [np.int64(1), 1023]),
        ("depths", np.array([1, 2])),
        ("image_shape", (None, 65_536, 3)),
        ("neck_dim", None),
        ("neck_dim", 16_384),
        ("mlp_ratio", 0.25),
        ("num_modalities", 0),
        ("global_indices", range(4)),
        ("detail_dims", ()),
    ],
)
def test_sizes_of_networks_pass(name, value):
    check_sizes("Network", **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("depths", (-1, 2), "a list of whole numbers from 0 to 1,024 together"),
        ("depths", (2, -1), "from 0"),
        ("depths", (1000, 25), "1,024 together"),
        ("depths", [10**6], "1,024 together"),
        ("depths", (True, 2), "whole numbers"),
        ("depths", (1.0, 2), "whole numbers"),
        ("depths", ("1", 2), "whole numbers"),
        ("depths", "12", "a list"),
        ("depths", None, "a list"),
        ("depths", 4, "a list"),
        ("depths", (None, 1), "a list"),
        ("strides", (0, 2), "from 1 to 64"),
        ("num_modalities", 10**9, "from 0 to 1,000"),
        ("num_modalities", -1, "from 0"),
        ("num_modalities", [1], "a whole number"),
        ("hidden_dims", (10**9,), "from 1 to 16,384"),
        ("image_shape", (10**9, 10**9, 3), "from 1 to 65,536, or None"),
        ("image_shape", (0, 32, 3), "from 1"),
        ("mlp_ratio", 0, "a number above 0"),
        ("mlp_ratio", float("nan"), "a number above 0"),
        ("mlp_ratio", float("inf"), "up to 1,024"),
        ("neck_dim", False, "or None"),
        ("window_sizes", [1] * 5000, "a list"),
    ],
)
def test_what_no_network_has_is_refused(name, value, expected):
    with pytest.raises(InputError, match=f"^Network received {name}=.*{expected}") as error:
        check_sizes("Network", **{name: value})
    assert len(str(error.value)) < 300


def test_names_of_modalities():
    assert check_class_names("Model", ["fundus", "Röntgen"]) == ("fundus", "Röntgen")
    assert check_class_names("Model", iter(["a"])) == ("a",)
    for names in ("fundus", 7, None, ["fundus", 1], [None], [""], ["x" * 201], ["a"] * 1001):
        with pytest.raises(InputError, match="Model received") as error:
            check_class_names("Model", names)
        assert len(str(error.value)) < 300


def test_a_description_is_checked_of_our_classes_alone():
    check_described("StrangersBackbone", {"depths": -1, "modalities": 7})
    check_described("ViTMedBackbone", {"position_grid": None, "depth": 12, "other": []})
    check_described("TinyViTBackbone", {"num_heads": [2, 4, 6]})
    for config in ({"depth": -1}, {"num_heads": 0}, {"position_grid": [10**6, 1]}):
        with pytest.raises(InputError, match="ViTMedBackbone received"):
            check_described("ViTMedBackbone", config)
    with pytest.raises(InputError, match="modalities"):
        check_described("ESPMedSAMBackbone", {"modalities": ["x" * 10**6]})
