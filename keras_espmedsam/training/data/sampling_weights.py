"""How often images are drawn: groups of records and their probabilities."""

import numpy as np

from keras_espmedsam.data.targets import UNNAMED
from keras_espmedsam.errors import InputError

BALANCES = ("dataset", "modality", "target")


def check_weights(weights, steps):
    """Raise for weights without random drawing: one pass shows every image once.

    Raises:
        InputError: for weights without steps.
    """
    if weights and not steps:
        raise InputError(
            f"Received weights={weights} without steps; one pass shows every image once, "
            "whatever its weight. Give steps, or leave the weights out."
        )


def group_names(record, balance, targets=None):
    """Return the groups of a record; of several targets it is in several.

    Args:
        record: `Record`.
        balance: one of `BALANCES`.
        targets: the model's `Targets`, whose first target a mask without a name shows; or None.

    Returns:
        List of str; with `"target"` such as `"fundus/vessels"`.

    Example:
        >>> group_names(kem.data.Record("train", "xray", "a", "1.png", "2.png"), "target")
        ['xray/mask']
    """
    if balance != "target":
        return [getattr(record, balance)]
    first = UNNAMED if targets is None else targets.of(record.modality)[0]
    names = [one.target or first for one in record.target_masks] or [UNNAMED]
    return [f"{record.modality}/{name}" if record.modality else name for name in names]


def sampling_weights(records, balance="dataset", weights=None, targets=None):
    """Group records and compute how often each group is drawn.

    Args:
        records: list of `Record`.
        balance: `"dataset"`, `"modality"` or `"target"` (of a modality; an image in which several
            are labelled is in several groups): how to group. `None` is one group of all records,
            so that all images are drawn equally often.
        weights: dict of a group's name to float, 1 for other groups; None for equal shares. The
            name of a target's group is such as `fundus/vessels`.
        targets: see `group_names`.

    Returns:
        Tuple of the groups, a list of integer arrays of rows, and their probabilities, an array
        that sums to 1.

    Raises:
        InputError: for another `balance`, and weights that name unknown groups, are negative or
            all zero.

    Example:
        >>> records = [kem.data.Record("train", "xray", name, "a.png") for name in "aab"]
        >>> groups, probabilities = sampling_weights(records, "dataset", {"b": 3})
        >>> [group.tolist() for group in groups], probabilities.tolist()
        ([[0, 1], [2]], [0.25, 0.75])
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
    of = [group_names(record, balance, targets) for record in records]
    names = sorted({name for one in of for name in one})
    weights = dict(weights or {})
    unknown = [str(name) for name in weights if name not in names]
    if unknown:
        raise InputError(
            f"Received weights of {', '.join(unknown)}; the records are of the {balance} "
            f"{', '.join(names)}. Use these names."
        )
    probabilities = np.array([weights.get(name, 1.0) for name in names], "float64")
    if not (probabilities >= 0).all() or not probabilities.any():
        kind = {"dataset": "data sets", "modality": "modalities", "target": "targets"}[balance]
        raise InputError(
            f"Received weights={weights} for the {kind} {', '.join(names)}; expected "
            "numbers of at least 0, and one above 0."
        )
    groups = [np.flatnonzero([name in one for one in of]) for name in names]
    return groups, probabilities / probabilities.sum()
