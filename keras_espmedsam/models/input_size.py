"""Keep the image size of a task's model and preprocessor equal."""

from keras_espmedsam.errors import InputError
from keras_espmedsam.models.image_converter import check_image_size


def follow_input_size(task):
    """Set the preprocessor's image size to the model's fixed size, if it has one.

    `from_preset(image_shape=...)` sets only the model's.

    Args:
        task: segmenter or classifier; its preprocessor is changed.

    Raises:
        InputError: for a model with any number of channels but three.

    Example:
        >>> image_shape = (128, 160, 3)
        >>> segmenter = ESPMedSAMImageSegmenter.from_preset(
        ...     "espmedsam_nano_256", image_shape=image_shape)
        >>> segmenter.preprocessor.image_converter.image_size
        (128, 160)
    """
    shape = _image_shape(task)
    if shape[-1] != 3:
        raise InputError(
            f"Received a model of images of shape {shape}; expected image_shape=(height, width, 3)."
        )
    if task.preprocessor is not None and None not in shape:
        converter = task.preprocessor.image_converter
        converter.image_size = check_image_size(shape[:2], converter.size_multiple)


def takes_any_size(task):
    """Return whether a task's model takes images of any size, and not of a fixed one alone."""
    return None in _image_shape(task)[:2]


def _image_shape(task):
    inputs = task.input
    return tuple((inputs["images"] if isinstance(inputs, dict) else inputs).shape[1:])
