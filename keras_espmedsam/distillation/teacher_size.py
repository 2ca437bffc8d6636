"""The size at which teachers see images. Works without Keras."""

from keras_espmedsam.errors import InputError


def check_teacher_size(size: tuple[int, int], own: tuple[int, int], cached: bool) -> None:
    """Check that images of a teacher's size can be made smaller for the student.

    Args:
        size: (height, width) of the teachers' images.
        own: (height, width) of the student's.
        cached: whether the teachers' features come from a cache.

    Raises:
        InputError: for another shape, a size below the student's, or a cache.

    Example:
        >>> check_teacher_size((384, 384), (256, 256), cached=False)
    """
    height, width = size
    if height * own[1] != width * own[0] or height < own[0]:
        raise InputError(
            f"Received images of {height} x {width} for the teachers and of {own[0]} x {own[1]} "
            "for the student; expected the same shape, and at least the student's size."
        )
    if cached:
        raise InputError(
            "Received a size of the teachers' images together with a cache, whose features are "
            "those of images of the student's size; leave one of the two out."
        )
