"""The one error type for input that the user can mend."""


class InputError(ValueError):
    """Input that cannot be used, explained in one sentence.

    The message says what was received, what was expected and what to do. The command line
    prints it without a traceback.

    Example:
        >>> raise InputError("Received 7 modalities for 6 images; give one per image.")
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: Received 7 modalities for 6 images; give one per image.

    Source: ours.
    """
