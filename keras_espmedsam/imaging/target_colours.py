"""The colours in which the targets of a modality are drawn."""

from collections.abc import Sequence

import numpy as np

ONLY = (40, 255, 120)
"""The colour of a modality's only target. No tissue, dye or grey scale has this green."""

# Without black, which looks like the rim. The first ones are bright, stand out on a red retina and
# differ for people of any colour vision (tests/imaging/test_target_colours.py).
_OKABE_ITO = (
    (86, 180, 233),  # sky blue
    (240, 228, 66),  # yellow
    (204, 121, 167),  # reddish purple
    (213, 94, 0),  # vermilion
    (0, 158, 115),  # bluish green
    (230, 159, 0),  # orange
    (0, 114, 178),  # blue
)
# Later targets have the same hues, half mixed with white and then with black.
_TINTS = ((1.0, 0), (0.5, 127), (0.5, 0))


def target_colours(targets: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Return a colour for each target of a modality, for people of any colour vision.

    The first seven targets have the colours of Okabe and Ito; later ones have lighter and then
    darker tones of them, and from the 22nd on they begin again.

    Args:
        targets: names of all the modality's targets, in the model's order, so that each keeps its
            colour if only some of them are drawn.

    Returns:
        dict of name to red, green and blue, 0 to 255.

    Example:
        >>> target_colours(("vessels", "optic_disc"))
        {'vessels': (86, 180, 233), 'optic_disc': (240, 228, 66)}

    Source: Okabe and Ito, Color Universal Design (2008); recommended by Wong, Nature Methods 8:441
        (2011).
    """
    if len(targets) == 1:
        return {targets[0]: ONLY}
    found = {}
    for number, name in enumerate(targets):
        tint, colour = divmod(number, len(_OKABE_ITO))
        share, added = _TINTS[tint % len(_TINTS)]
        red, green, blue = (np.array(_OKABE_ITO[colour]) * share + added).astype(int).tolist()
        found[name] = red, green, blue
    return found
