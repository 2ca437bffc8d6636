import numpy as np

from keras_espmedsam.imaging.target_colours import ONLY, target_colours

# How people without one kind of cone see linear RGB: Machado et al. (2009), severity 1.0.
DICHROMATS = {
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def seen(colour, matrix):
    return np.clip(np.array(matrix) @ (np.array(colour) / 255) ** 2.2, 0, 1) ** (1 / 2.2) * 255


def test_the_only_target_is_green():
    assert target_colours(("mask",)) == {"mask": ONLY} == {"mask": (40, 255, 120)}


def test_the_colours_are_okabes_and_itos():
    found = target_colours([f"t{number}" for number in range(7)])
    assert list(found.values()) == [
        *((86, 180, 233), (240, 228, 66), (204, 121, 167), (213, 94, 0)),
        *((0, 158, 115), (230, 159, 0), (0, 114, 178)),
    ]


def test_many_targets_have_tones_and_then_begin_again():
    colours = list(target_colours([f"t{number}" for number in range(44)]).values())
    assert len(set(colours[:21])) == 21
    assert colours[21:42] == colours[:21]
    assert colours[7] == (170, 217, 243) and colours[14] == (43, 90, 116)


def test_the_first_targets_differ_for_people_of_any_colour_vision():
    colours = list(target_colours(("a", "b", "c", "d", "e")).values())
    for count, least in ((4, 69), (5, 50)):
        for matrix in (np.eye(3), *DICHROMATS.values()):
            shown = [seen(colour, matrix) for colour in colours[:count]]
            for i, one in enumerate(shown):
                for other in shown[:i]:
                    assert np.linalg.norm(one - other) > least
