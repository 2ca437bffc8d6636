"""Which target of a teacher teaches which of a student, by name, and what the student is told."""

import keras
import numpy as np
import pytest

from keras_espmedsam.data import Targets
from keras_espmedsam.distillation.matched_targets import MatchedTargets
from keras_espmedsam.errors import InputError


def matched(student, teacher, **declared):
    student = Targets(student, **declared)
    teacher = Targets(teacher)
    return MatchedTargets(student, dict.fromkeys(student.modalities, teacher))


@pytest.mark.parametrize(
    ("student", "teacher", "table"),
    [
        # The same, another order, and other modalities, in another order.
        ({"eye": ("disc", "cup")}, {"eye": ("disc", "cup")}, ((0, 1),)),
        ({"eye": ("disc", "cup")}, {"eye": ("cup", "disc")}, ((1, 0),)),
        (
            {"eye": ("disc", "cup"), "chest": ("lungs",), "skin": ("mole",)},
            {"chest": ("lungs", "heart"), "eye": ("vessels", "cup")},
            ((-1, 1), (0, -1), (-1, -1)),
        ),
        # One target without a name is the modality's first.
        ({"eye": ("mask",)}, {"eye": ("mask",)}, ((0,),)),
        ({"eye": ("disc", "cup")}, {"eye": ("mask",)}, ((0, -1),)),
        ({"eye": ("mask",)}, {"eye": ("disc",)}, ((0,),)),
        # Also if further ones were added to it; a name that both have comes first.
        ({"eye": ("vessels", "disc")}, {"eye": ("mask", "disc")}, ((0, 1),)),
        ({"eye": ("mask", "disc")}, {"eye": ("vessels", "disc")}, ((0, 1),)),
        ({"eye": ("disc", "vessels")}, {"eye": ("mask", "disc")}, ((1, -1),)),
        ({"eye": ("mask", "disc")}, {"eye": ("disc", "vessels")}, ((-1, 0),)),
    ],
)
def test_channels_are_matched_by_name(student, teacher, table):
    assert matched(student, teacher).table == table


def test_hidden_channels_have_names_too():
    student = Targets({"slide": ("nuclei", "glands")}, instances={"slide": {"nuclei": "boundary"}})
    for teacher, table in (
        (Targets({"slide": ("glands", "nuclei")}), ((1, 0, -1),)),
        (
            Targets({"slide": ("nuclei",)}, instances={"slide": {"nuclei": "boundary"}}),
            ((0, -1, 1),),
        ),
        (Targets({"slide": ("nuclei",)}, instances={"slide": {"nuclei": "core"}}), ((0, -1, -1),)),
        (
            Targets({"slide": ("mask",)}, instances={"slide": {"mask": "boundary"}}),
            ((0, -1, 1),),
        ),
    ):
        assert MatchedTargets(student, {"slide": teacher}).table == table
    assert MatchedTargets(student, {"slide": teacher}).taught == {
        "slide": ("nuclei", "nuclei:boundary")
    }


def test_each_modality_has_its_own_teacher():
    student = Targets({"eye": ("disc", "cup"), "chest": ("lungs",)})
    teachers = {
        "eye": Targets({"eye": ("cup", "vessels", "disc")}),
        "chest": Targets({"eye": ("disc",), "chest": ("heart", "lungs")}),
    }
    one = MatchedTargets(student, teachers)
    assert (one.table, one.num_channels) == (((2, 0), (1, -1)), 3)
    assert one.said() == "Teachers have masks of eye: disc, cup; chest: lungs."


def test_probabilities_take_the_students_place_and_the_rest_is_unknown():
    one = matched(
        {"eye": ("disc", "cup"), "chest": ("lungs", "heart"), "skin": ("mole",)},
        {"chest": ("heart", "lungs"), "eye": ("vessels", "cup", "disc")},
    )
    logits = np.random.default_rng(0).normal(size=(4, 2, 3, 3)).astype("float32")
    logits[1, ..., 2] = -np.inf  # A channel that the teacher's modality has not.
    logits[3, ..., 1] = -np.inf  # One that is absent in this image alone.
    found = one(keras.ops.convert_to_tensor(logits), np.array([0, 1, 2, 0], "int32"))
    found = keras.ops.convert_to_numpy(found)
    sure = 1 / (1 + np.exp(-logits))
    unknown = np.full((2, 3), -1.0)
    expected = [
        (sure[0, ..., 2], sure[0, ..., 1]),
        (sure[1, ..., 1], sure[1, ..., 0]),
        (unknown, unknown),
        (sure[3, ..., 2], unknown),
    ]
    np.testing.assert_allclose(found, np.stack([np.stack(e, -1) for e in expected]), atol=1e-6)
    half = keras.ops.convert_to_numpy(one(logits.astype("float16"), np.array([0, 1, 2, 0])))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, found, atol=1e-3)
    with pytest.raises(InputError, match=r"masks of shape \(4, 2, 3, 2\); expected .* 3\)"):
        one(logits[..., :2], np.array([0, 1, 2, 0]))


def test_targets_of_an_exclusive_group_add_up_to_one_at_most():
    """A teacher without the group may be sure of both; the student could not follow it."""
    targets = {"eye": ("arteries", "veins", "disc"), "skin": ("mole",)}
    one = matched(targets, targets, exclusive={"eye": [("arteries", "veins")]})
    logits = np.log(np.array([0.9, 0.6, 0.8]) / (1 - np.array([0.9, 0.6, 0.8])))
    logits = np.stack([logits, [-3.0, -2.0, 1.0]]).astype("float32")
    found = keras.ops.convert_to_numpy(one(logits.reshape(2, 1, 1, 3), np.array([0, 0])))
    np.testing.assert_allclose(found[0, 0, 0], [0.6, 0.4, 0.8], atol=1e-6)
    np.testing.assert_allclose(found[1, 0, 0], 1 / (1 + np.exp(-logits[1])), atol=1e-6)
    other = keras.ops.convert_to_numpy(one(logits.reshape(2, 1, 1, 3), np.array([1, 0])))
    np.testing.assert_allclose(other[0, 0, 0], [0.9, -1, -1], atol=1e-6)


def test_what_cannot_be_matched_is_told():
    with pytest.raises(InputError, match=r"student has the targets eye: disc, .* eye: vessels; "):
        matched({"eye": ("disc",)}, {"eye": ("vessels",)})
    with pytest.raises(InputError, match=r"eye: disc, and its teacher skin: disc; masks are lea"):
        matched({"eye": ("disc",)}, {"skin": ("disc",)})
    with pytest.raises(InputError, match=r"name_targets\(\{'eye': 'vessels'\}\)"):
        matched({"eye": ("mask",)}, {"eye": ("vessels", "disc")})
