"""The masks and label images of the TensorFlow function are those of NumPy."""

import numpy as np
import pytest

from keras_espmedsam.data import Targets
from keras_espmedsam.export.target_planes import draw_planes

SEVERAL = Targets(
    {"eye": ("disc", "a", "v", "w"), "slide": ("nuclei",), "lung": ("left", "right", "heart")},
    exclusive={"eye": [("v", "a", "w")], "lung": [("left", "right")]},
    instances={"slide": {"nuclei": "boundary"}},
)
GROUPS = Targets({"eye": tuple("abcde")}, exclusive={"eye": [("a", "b"), ("e", "d", "c")]})


@pytest.mark.parametrize(
    ("targets", "modalities"),
    [(SEVERAL, [0, 1, 2, 0]), (SEVERAL.only("lung"), None), (GROUPS, None), (GROUPS, [0])],
)
def test_planes_of_tensorflow_are_those_of_numpy(targets, modalities):
    tf = pytest.importorskip("tensorflow")
    from keras_espmedsam.export.tensorflow_graph import _planes

    # Whole numbers, so that several targets are often equal.
    rng = np.random.default_rng(0)
    count = 1 if modalities is None else len(modalities)
    logits = rng.integers(-2, 3, (count, 16, 16, targets.num_channels)).astype("float32")
    rows = np.zeros(count, int) if modalities is None else np.array(modalities)
    for i, modality in enumerate(targets.modalities):
        logits[rows == i, ..., len(targets.channels(modality)) :] = -np.inf
    given = None if modalities is None else tf.constant(modalities, "int32")
    found = {
        name: value.numpy() for name, value in _planes(tf.constant(logits), targets, given).items()
    }
    expected = draw_planes(logits, 0, targets, rows)
    assert set(found) == {*expected, "probabilities"}
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)
    assert not found["probabilities"][np.isneginf(logits)].any()
    assert expected["labels"].max() >= 2
