"""The option --threshold: a number, or a target's own as NAME=NUMBER."""

from collections.abc import Sequence

import typer

from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.targets import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.chosen_targets import (
    DEFAULT_THRESHOLD,
    Threshold,
    check_threshold,
    thresholds_of,
)

THRESHOLD_OPTION = typer.Option(
    metavar="NUMBER|TARGET=NUMBER",
    help="Pixels with at least this probability (0 to 1) are foreground. Repeat it as in "
    f"vessels=0.3 for a target's own. Default: {DEFAULT_THRESHOLD}.",
    show_default=False,
)
"""The option; its value is a list of str or None."""


class GivenThresholds:
    """The thresholds given on the command line.

    Args:
        given: values of the option, or None.

    Raises:
        InputError: for a value that is not a number from 0 to 1.

    Example:
        >>> given = GivenThresholds(["0.4", "vessels=0.3"])
        >>> given.of(Targets({"fundus": ("vessels", "optic_disc")}))
        {'vessels': 0.3, 'optic_disc': 0.4}
    """

    def __init__(self, given: Sequence[str] | None = None):
        self.all = DEFAULT_THRESHOLD
        self.own: dict[str, float] = {}
        for text in given or ():
            name, equals, number = text.rpartition("=")
            value = _number(number, text)
            if equals:
                self.own[name] = value
            else:
                self.all = value

    def of(self, target_set: Targets) -> Threshold:
        """Return the threshold for a model's `segment`: a number, or a dict of each target's own.

        Args:
            target_set: the model's targets.

        Raises:
            InputError: for a name that is no target.
        """
        if not self.own:
            return self.all
        thresholds_of(self.own, target_set)  # Only to check the names.
        return thresholds_of(self.all, target_set) | self.own


def _number(text, given):
    try:
        value = float(text)
        check_threshold(value)
    except ValueError:  # An InputError is one, too.
        raise InputError(
            f"Received --threshold {shown_value(given)}; expected a number from 0 to 1, or a "
            "target and a number, such as vessels=0.3."
        ) from None
    return value
