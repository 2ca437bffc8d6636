"""Load a common teacher from a configuration."""

import keras
import keras_hub

from keras_espmedsam.distillation.teacher import Teacher
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.built_in_presets import resolve_preset


def named_teacher(settings, features=("embedding",)):
    """Load a common teacher.

    Args:
        settings: `TeacherSettings`.
        features: tuple of str; see `Teacher`.

    Returns:
        `Teacher`.

    Raises:
        InputError: for a preset or a file that cannot be loaded.
    """
    try:
        if settings.file is not None:
            model = keras.saving.load_model(settings.file, compile=False)
        elif settings.keras_hub is not None:
            model = keras_hub.models.Backbone.from_preset(settings.keras_hub)
        else:
            model = keras_hub.models.Backbone.from_preset(resolve_preset(settings.preset))
    except InputError:
        raise
    # A file of another kind, or a failed download, can raise almost any exception.
    except Exception as error:
        source = settings.file or settings.keras_hub or settings.preset
        raise InputError(
            f"The teacher {settings.name} cannot be loaded from {source} "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})."
        ) from error
    return Teacher(
        model,
        settings.normalization,
        settings.image_size,
        features=features,
        name=settings.name,
    )
