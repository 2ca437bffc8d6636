import keras
import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.models.image_encoder import FeatureLevel
from keras_espmedsam.models.pyramid_stages import chosen_levels, cut_at

LEVELS = {f"P{i}": FeatureLevel(2**i, 8) for i in range(1, 7)}


def graph(skip):
    """Three levels; with `skip`, the last also reads the first."""
    image = keras.Input((16, 16, 3))
    levels = {"P1": keras.layers.Conv2D(4, 2, strides=2)(image)}
    levels["P2"] = keras.layers.Conv2D(4, 2, strides=2)(levels["P1"])
    x = levels["P2"]
    if skip:
        x = x + keras.layers.MaxPooling2D(2)(levels["P1"])
    levels["P3"] = keras.layers.Conv2D(4, 2, strides=2)(x)
    return image, levels


@pytest.mark.parametrize(
    ("skip", "names", "expected"),
    [
        (False, (), [["P1", "P2", "P3"]]),
        (False, ("P1", "P2", "P3"), [["P1"], ["P2"], ["P3"]]),
        (False, ("P2",), [["P1", "P2"], ["P3"]]),
        # What is read from before a level cannot come from it.
        (True, ("P1", "P2"), [["P1"], ["P2", "P3"]]),
    ],
)
def test_a_graph_is_cut_where_all_that_follows_reads_the_level_alone(build, skip, names, expected):
    image, levels = graph(skip)
    stages = cut_at(image, levels, names)
    assert [list(stage.output) for stage in stages] == expected
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype("float32")
    whole, found = build.run(keras.Model(image, levels), x), {}
    for stage, own in zip(stages, expected, strict=True):
        found |= build.run(stage, x)
        x = found[own[-1]]
    assert set(found) == set(levels)
    for name, value in whole.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6)


def test_the_usual_levels_have_strides_from_8_on():
    model = keras.Model()
    assert chosen_levels(model, LEVELS, None) == ("P3", "P4", "P5", "P6")
    assert chosen_levels(model, LEVELS, None, coarsest=32) == ("P3", "P4", "P5")
    assert chosen_levels(model, {"P1": LEVELS["P1"], "P2": LEVELS["P2"]}, None) == ("P2",)
    assert chosen_levels(model, LEVELS, ["P4", "P2", "P4"]) == ("P4", "P2")
    assert chosen_levels(model, LEVELS, "P2") == ("P2",)
    refused = "of Model; expected some of P1"
    for wrong, words in (
        (["P9"], "'P9' of Model; expected one of P1, P2"),
        ([["P1"]], "of Model; expected one of P1, P2"),
        ([], refused),
        (3, refused),
    ):
        with pytest.raises(InputError, match=words):
            chosen_levels(model, LEVELS, wrong)
