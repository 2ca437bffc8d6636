"""Tell values that are missing, because nothing was labelled, from a training that diverges."""

import math


def unmeasured(logs):
    """Return the names of metrics that are NaN because no image has what they measure.

    A metric of this package is NaN then. So it is left out of the printed line, a gap in the
    learning curves, and empty in their table. Beside a loss that is not finite, NaN says that the
    training diverges, and is shown.

    Args:
        logs: dict of name to float, as Keras gives it to callbacks; names that begin with `val_`
            stand beside `val_loss`.

    Example:
        >>> logs = {"loss": 0.5, "masks_dice": 0.8, "dice_fundus/optic_cup": float("nan")}
        >>> unmeasured(logs), unmeasured({**logs, "loss": float("nan")})
        ({'dice_fundus/optic_cup'}, set())
    """
    return {
        name
        for name, value in logs.items()
        if isinstance(value, float)
        and math.isnan(value)
        and math.isfinite(logs.get("val_loss" if name.startswith("val_") else "loss", 0.0))
    }
