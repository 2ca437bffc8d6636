"""Layers that bring a student's features to the width of a teacher's."""

import keras

from keras_espmedsam.distillation.mask_loss import MaskLoss
from keras_espmedsam.errors import InputError
from keras_espmedsam.models.feature_specs import feature_specs


def make_projections(student, terms, common_teachers, domain_teachers):
    """Make a 1 x 1 convolution for every term whose widths differ.

    Args:
        student: dict of the student's features, as `feature_specs` gives it.
        terms: dict of stream to dict of teacher to its list of terms; the teachers of the domain
            are one, `"domain"`.
        common_teachers, domain_teachers: dicts of `Teacher`.

    Returns:
        dict of `"stream/teacher/term"` to a built `keras.layers.Conv2D`.

    Raises:
        InputError: for a feature that the student or a teacher lacks.
    """
    pairs = [
        (stream, name, own) for stream, by_name in terms.items() for name, own in by_name.items()
    ]
    projections = {}
    for stream, name, own in pairs:
        # Of several teachers of the domain, any one stands for all.
        teacher = (
            common_teachers[name] if stream == "common" else next(iter(domain_teachers.values()))
        )
        given = feature_specs(teacher.model, teacher)
        for term in own:
            if isinstance(term, MaskLoss):
                continue
            if term.student not in student:
                raise InputError(
                    f"The student has no feature {term.student!r}; it has {', '.join(student)}."
                )
            if term.teacher not in given:
                raise InputError(
                    f"The teacher {teacher.name!r} gives no feature {term.teacher!r}; build "
                    f"it as Teacher(model, features={(*given, term.teacher)})."
                )
            width, wanted = student[term.student].shape[-1], given[term.teacher].shape[-1]
            if width != wanted:
                projection = keras.layers.Conv2D(
                    wanted, 1, name=f"{stream}_{name}_{term.name}_projection"
                )
                projection.build((None, None, None, width))
                projections[f"{stream}/{name}/{term.name}"] = projection
    return projections
