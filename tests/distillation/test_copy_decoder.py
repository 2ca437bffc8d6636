import numpy as np
import pytest

from keras_espmedsam.distillation import copy_decoder
from keras_espmedsam.errors import InputError


def test_decoder_prompts_and_queries_are_copied_and_nothing_else(tiny):
    teacher, student = (tiny.randomize(tiny.student(), seed) for seed in (1, 2))
    encoder = tiny.values(student.backbone.image_encoder.weights)
    copy_decoder(teacher, student)
    for part in ("mask_decoder", "prompt_generator"):
        old, new = (tiny.values(getattr(m.backbone, part).weights) for m in (teacher, student))
        assert all(np.array_equal(a, b) for a, b in zip(old, new, strict=True))
    after = tiny.values(student.backbone.image_encoder.weights)
    assert all(np.array_equal(a, b) for a, b in zip(encoder, after, strict=True))


def test_what_does_not_fit_is_refused_before_anything_is_copied(tiny):
    student = tiny.student()
    before = tiny.values(student.weights)
    other = tiny.backbone(neck_dim=16)
    with pytest.raises(InputError, match="The prompt_generator of the teacher does not fit"):
        copy_decoder(other, student)
    renamed = tiny.backbone(modalities=("a", "b", "c"))
    with pytest.raises(InputError, match="the same modalities in the same order"):
        copy_decoder(renamed, student)
    assert all(
        np.array_equal(a, b) for a, b in zip(before, tiny.values(student.weights), strict=True)
    )
