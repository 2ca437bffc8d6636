"""Which images are drawn how often: groups of records and their probabilities."""

import numpy as np

from keras_espmedsam.errors import InputError

BALANCES = ("dataset", "modality")


def check_weights(weights, steps):
    """Refuse weights of what is not drawn at random: one pass shows every image once.

    Raises:
        InputError: for weights without steps.

    Source: ours.
    """
    if weights and not steps:
        raise InputError(
            f"Received weights={weights} without steps; one pass shows every image once, "
            "whatever its weight. Give steps, or leave the weights out."
        )


def sampling_weights(records, balance="dataset", weights=None):
    """Group records, and say how often each group is drawn.

    Args:
        records: list of `Record`.
        balance: `"dataset"` or `"modality"`: what the groups are. `None` is one group of all,
            so that every image is drawn as often as any other.
        weights: dict of a group's name to float, 1 where it has no name; None for equal shares.

    Returns:
        Tuple of the groups, a list of integer arrays of rows, and their probabilities, an array
        that sums to 1.

    Raises:
        InputError: for another `balance`, weights of names that there are not, or of which none
            is above zero or one is below.

    Example:
        >>> records = [kem.data.Record("train", "xray", name, "a.png") for name in "aab"]
        >>> groups, probabilities = sampling_weights(records, "dataset", {"b": 3})
        >>> [group.tolist() for group in groups], probabilities.tolist()
        ([[0, 1], [2]], [0.25, 0.75])

    Source: ours.
    """
    if balance is not None and balance not in BALANCES:
        raise InputError(
            f"Received balance={balance!r}; expected one of {', '.join(BALANCES)}, or None."
        )
    if balance is None:
        if weights:
            raise InputError(
                f"Received weights={weights} with balance=None, which has no names; give balance "
                f"as one of {', '.join(BALANCES)}."
            )
        return [np.arange(len(records))], np.ones(1)
    of = [getattr(record, balance) for record in records]
    names = sorted(set(of))
    weights = dict(weights or {})
    unknown = [str(name) for name in weights if name not in names]
    if unknown:
        raise InputError(
            f"Received weights of {', '.join(unknown)}; the records are of the {balance} "
            f"{', '.join(names)}. Write the names as there."
        )
    probabilities = np.array([weights.get(name, 1.0) for name in names], "float64")
    if not (probabilities >= 0).all() or not probabilities.any():
        kind = "data sets" if balance == "dataset" else "modalities"
        raise InputError(
            f"Received weights={weights} for the {kind} {', '.join(names)}; expected "
            "numbers of at least 0, and one above 0."
        )
    groups = [np.flatnonzero([one == name for one in of]) for name in names]
    return groups, probabilities / probabilities.sum()
