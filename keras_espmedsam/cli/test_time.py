"""The options --mirror and --scales of `segment` and `evaluate`."""

import typer

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.test_time import OWN_SIZE, checked_scales

MIRROR_OPTION = typer.Option(
    "--mirror", help="Average with the result for the mirrored image; takes twice as long."
)
"""The option; its value is a bool."""

SCALES_OPTION = typer.Option(
    metavar="NUMBER[,NUMBER...]",
    help="Average the results for the image at several sizes, as factors of the model's image "
    "size, such as 0.75,1,1.25; each takes a pass. Default: 1.",
    show_default=False,
)
"""The option; its value is a str or None."""


def parse_scales(text: str | None) -> tuple[float, ...] | None:
    """Return the scales of --scales, or `None` for the model's image size alone.

    Args:
        text: numbers with commas between them.

    Raises:
        InputError: for anything but different numbers from 0.25 to 4.

    Example:
        >>> parse_scales("0.75,1,1.25")
        (0.75, 1.0, 1.25)
        >>> parse_scales("1") is None
        True
    """
    if text is None:
        return None
    try:
        scales = checked_scales([float(one) for one in text.split(",")])
    except ValueError:  # An InputError is one, too.
        raise InputError(
            f"Received --scales {shown_value(text)}; expected a number from 0.25 to 4, or several "
            "different ones with commas between them, such as 0.75,1,1.25."
        ) from None
    return None if scales == OWN_SIZE else scales
